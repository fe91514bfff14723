"""Strings of JSON instances: the property's name says what kind of phrase is expected."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmstub.domain import Refused
from llmstub.replies import schema as schemas
from llmstub.replies.brief import Task
from llmstub.replies.patterns import matching

if TYPE_CHECKING:
    from random import Random

    from llmstub.domain import JsonObject
    from llmstub.replies.phrases import Phrases

_TRIES = 200  # for a pattern's string of the right length
_KINDS = {
    "titles": "title headline name",
    "headings": "heading subheading section sections chapter chapters",
    "points": "points point bullets key_points items topics steps goals",
    "findings": "facts fact claim claims finding findings evidence",
    "questions": "question questions gaps open_questions",
    "sources": "source sources reference references citation citations",
    "praises": "strengths praise praises pros",
    "remarks": "comment comments remark remarks issue issues suggestion suggestions change changes"
    " weaknesses cons fix fixes instruction advice",
    "verdicts": "verdict conclusion assessment decision",
    "openers": "summary abstract lead intro introduction description overview",
}
_KIND_OF = {name: kind for kind, names in _KINDS.items() for name in names.split()}
_LONG = frozenset(
    {"article", "body", "content", "draft", "markdown", "text", "paragraphs", "prose"}
)
_WORDS = frozenset({"keyword", "keywords", "tag", "tags", "term", "terms", "word", "words"})
_LINKS = frozenset({"link", "links", "uri", "url", "urls", "source_url"})
_PARAGRAPH = 90  # tokens


def text(schema: JsonObject, name: str, phrases: Phrases, budget: int) -> str:
    """Return a string that the schema allows. Raises Refused."""
    least = schemas.integer(schema, "minLength") or 0
    most = schemas.integer(schema, "maxLength")
    if most is not None and most < least:
        raise Refused(400, "schema: maxLength below minLength", "schema")
    pattern = schema.get("pattern")
    if isinstance(pattern, str):
        return _matching(pattern, least, most, phrases.random)
    formatted = _formatted(str(schema.get("format", "")), phrases.random)
    if formatted:
        return formatted
    value = _named(name.lower(), phrases, budget)
    while len(value) < least:
        value += phrases.brief.bank.gap + phrases.deal("sentences")
    if most is not None and len(value) > most:
        value = value[:most].rstrip().ljust(least, ".")
    return value


def _named(name: str, phrases: Phrases, budget: int) -> str:
    brief = phrases.brief
    if name in ("language", "lang", "locale"):
        return brief.bank.code
    if name in _LINKS:
        return f"https://example.com/{_slug(phrases.random)}"
    if name in _WORDS:
        return phrases.random.choice(brief.words)
    if name in ("id", "key", "slug"):
        return _slug(phrases.random)
    if name in ("heading", "section") and brief.heading and brief.task is not Task.OUTLINE:
        return brief.heading
    if name in ("topic", "subject", "theme"):
        return brief.topic
    if name in _LONG:
        parts = [phrases.paragraph(_PARAGRAPH, phrases.deal("openers"))]
        parts += [phrases.paragraph(_PARAGRAPH) for _ in range(budget // _PARAGRAPH - 1)]
        return "\n\n".join(parts)
    return phrases.deal(_KIND_OF.get(name, "findings"))


def _formatted(name: str, random: Random) -> str:
    day = f"2026-{random.randint(1, 12):02}-{random.randint(1, 28):02}"
    time = f"{random.randint(8, 18):02}:{random.randint(0, 59):02}:00Z"
    letters = f"{random.getrandbits(128):032x}"
    return {
        "date": day,
        "time": time,
        "date-time": f"{day}T{time}",
        "duration": f"PT{random.randint(1, 59)}M",
        "email": f"{_slug(random)}@example.com",
        "hostname": f"{_slug(random)}.example.com",
        "ipv4": f"192.0.2.{random.randint(1, 254)}",
        "ipv6": f"2001:db8::{random.randint(1, 9999):x}",
        "uri": f"https://example.com/{_slug(random)}",
        "url": f"https://example.com/{_slug(random)}",
        "uuid": f"{letters[:8]}-{letters[8:12]}-4{letters[13:16]}-8{letters[17:20]}-{letters[20:]}",
    }.get(name, "")


def _slug(random: Random) -> str:
    return f"note-{random.getrandbits(24):06x}"


def _matching(pattern: str, least: int, most: int | None, random: Random) -> str:
    for _ in range(_TRIES):
        value = matching(pattern, random)
        if len(value) >= least and (most is None or len(value) <= most):
            return value
    raise Refused(400, f"schema: pattern {pattern!r} gives no string of that length", "pattern")
