"""The sections of Markdown that a prompt carries, plain or inside JSON strings."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass

_HEADING = re.compile(r"^(#{1,3})[ \t]+(\S[^\n]{0,160})$", re.MULTILINE)
_STRING = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
_AFTER_ARTICLE = re.compile(r"\n\n[^\n:：]{1,60}[:：](?=\n|\Z)")
_NO_ARTICLE = re.compile(r"^(?:review|notes on|レビュー)|調査メモ$", re.IGNORECASE)
_SHORTEST_BODY = 40


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and the text below it."""

    level: int
    heading: str
    body: str


def sections(text: str) -> tuple[Section, ...]:
    """Return the article's sections, without reviews and notes and what stands under them."""
    in_strings = [decoded for decoded in _strings(text) if _HEADING.search(decoded)]
    return tuple(section for part in in_strings or [text] for section in _sections(part))


def _sections(text: str) -> list[Section]:
    found = list(_HEADING.finditer(text))
    ends = [*(match.start() for match in found[1:]), len(text)]
    kept: list[Section] = []
    skipped = 0  # the level of the review that is being passed over
    for match, end in zip(found, ends, strict=False):
        level, heading = len(match[1]), match[2].strip()
        if skipped and level > skipped:
            continue
        skipped = level if _NO_ARTICLE.search(heading) else 0
        body = text[match.end() : end]
        if end == len(text):  # what the prompt says after the article begins with a label
            body = _AFTER_ARTICLE.split(body)[0]
        body = body.strip()
        if not skipped and len(body) >= _SHORTEST_BODY:
            kept.append(Section(level, heading, body))
    return kept


def _strings(text: str) -> list[str]:
    """Return the JSON strings of more than one line."""
    decoded: list[str] = []
    for match in _STRING.finditer(text):
        if "\\n" in match[1]:
            with suppress(ValueError):
                decoded.append(str(json.loads(match.group())))
    return decoded
