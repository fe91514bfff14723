"""Strings for JSON schemas: by pattern, by format, else a recorded text that suits the property."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING
from uuid import UUID

from rstr import Rstr

from llmstub.domain import RequestRefused
from llmstub.replies import schemas

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from llmstub.domain import JsonObject
    from llmstub.replies.prompts import RecognizedPrompt
    from llmstub.replies.recordings import RecordedArticle

_TRIES = 200  # for a pattern's string of the right length
_REPETITIONS = 3  # how many an open-ended quantifier adds at most
_MOST_REPETITIONS = 20_000  # in one pattern; nested ones multiply
_PARAGRAPH = 90  # tokens
_KIND_OF = {
    name: kind
    for kind, names in {
        "title": "title headline name",
        "heading": "heading subheading section sections chapter chapters",
        "point": "points point bullets key_points items topics steps goals",
        "remark": "comment comments remark remarks issue issues suggestion suggestions change"
        " changes weaknesses cons fix fixes instruction advice",
        "praise": "strengths praise praises pros",
        "verdict": "verdict conclusion assessment decision",
        "question": "question questions gaps open_questions",
        "source": "source sources reference references citation citations",
        "paragraph": "summary abstract lead intro introduction description overview",
        "text": "article body content draft markdown text paragraphs prose",
        "keyword": "keyword keywords tag tags term terms word words",
        "topic": "topic subject theme",
        "language": "language lang locale",
        "link": "link links uri url urls source_url",
        "slug": "id key slug",
    }.items()
    for name in names.split()
}


class StringSampler:
    """Strings of one instance; texts of a kind are given out in their recorded order."""

    def __init__(
        self, facts: RecognizedPrompt, recorded: RecordedArticle, random: Random, target: int
    ) -> None:
        self._recorded = recorded
        self._random = random
        self._target = target
        self._given = Counter[str]()
        self._section = recorded.section(facts.heading)
        _, questions, sources = list(recorded.notes.values())[1:]
        praises, remarks, verdicts = list(recorded.review.values())[1:]
        self._texts: dict[str, Sequence[str]] = {
            "title": recorded.titles,
            "heading": [section.heading for section in recorded.sections],
            "remark": remarks,
            "praise": praises,
            "verdict": verdicts,
            "question": questions,
            "source": sources,
            "paragraph": recorded.paragraphs(),
            "keyword": recorded.keywords,
            "topic": [recorded.topic],
            "language": [recorded.language],
        }

    def string(self, schema: JsonObject, name: str, depth: int) -> str:
        """Return a string that the schema allows. Raises RequestRefused."""
        least = schemas.integer(schema, "minLength", 0)
        most = schemas.integer(schema, "maxLength", max(least, 1 << 30))
        if most < least:
            raise RequestRefused(400, "schema: maxLength below minLength", "schema")
        pattern, form = schema.get("pattern"), str(schema.get("format", ""))
        if isinstance(pattern, str):
            return matching(pattern, self._random, least, most)
        kind = _KIND_OF.get(name.lower(), "finding")
        made = _FORMATS.get(form) or _FORMATS.get(kind)
        if made is not None:
            return made(self._random)
        text = self._text(kind, self._target // 2 ** max(0, depth - 1))
        while len(text) < least:
            text += " " + self._next("paragraph")
        return text if len(text) <= most else text[:most].rstrip().ljust(least, ".")

    def _text(self, kind: str, budget: int) -> str:
        if kind == "text":
            return "\n\n".join(self._next("paragraph") for _ in range(max(1, budget // _PARAGRAPH)))
        text = self._next(kind)
        if kind == "heading" and text in self._texts[kind]:  # what follows is about this section
            self._section = self._recorded.section(text)
            self._given["point"] = self._given["finding"] = 0
        return text

    def _next(self, kind: str) -> str:
        of_section = {"point": [*self._section.paragraphs], "finding": self._section.findings}
        texts = of_section.get(kind) or self._texts.get(kind) or self._texts["paragraph"]
        times, place = divmod(self._given[kind], len(texts))
        self._given[kind] += 1
        return (
            texts[place]
            if not times or kind in ("language", "topic")
            else (f"{texts[place]} ({times + 1})")
        )


def matching(pattern: str, random: Random, least: int = 0, most: int = 1 << 30) -> str:
    """Return a string of a length that a regular expression matches. Raises RequestRefused."""
    try:
        for _ in range(_TRIES):
            text = _Xeger(random).xeger(pattern)
            if least <= len(text) <= most and re.search(pattern, text):
                return text
    except (re.error, KeyError, OverflowError, RecursionError) as error:
        raise RequestRefused(400, f"schema: pattern {pattern!r}: {error}", "pattern") from error
    raise RequestRefused(
        400, f"schema: pattern {pattern!r} gives no string of that length", "pattern"
    )


class _Xeger(Rstr):
    """rstr's sampler, but with few repetitions where a pattern leaves it open how many."""

    _left = _MOST_REPETITIONS

    def _handle_repeat(self, start_range: int, end_range: int, value: object) -> str:
        times = self._random.randint(start_range, min(end_range, start_range + _REPETITIONS))
        self._left -= times
        if self._left < 0:
            raise OverflowError("too many repetitions")
        return "".join(self._build_string(value) for _ in range(times))


def _day(random: Random) -> str:
    return f"2026-{random.randint(1, 12):02}-{random.randint(1, 28):02}"


def _time(random: Random) -> str:
    return f"{random.randint(8, 18):02}:{random.randint(0, 59):02}:00Z"


def _slug(random: Random) -> str:
    return f"note-{random.getrandbits(24):06x}"


def _link(random: Random) -> str:
    return f"https://example.com/{_slug(random)}"


def _uuid(random: Random) -> str:
    return str(UUID(int=random.getrandbits(128), version=4))


_FORMATS: dict[str, Callable[[Random], str]] = {
    "date": _day,
    "time": _time,
    "date-time": lambda random: f"{_day(random)}T{_time(random)}",
    "duration": lambda random: f"PT{random.randint(1, 59)}M",
    "email": lambda random: f"{_slug(random)}@example.com",
    "hostname": lambda random: f"{_slug(random)}.example.com",
    "ipv4": lambda random: f"192.0.2.{random.randint(1, 254)}",
    "ipv6": lambda random: f"2001:db8::{random.randint(1, 9999):x}",
    "uri": _link,
    "url": _link,
    "link": _link,
    "slug": _slug,
    "uuid": _uuid,
}
