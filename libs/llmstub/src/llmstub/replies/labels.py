"""What a prompt labels: `Topic: …`, `"heading": "…"`, `テーマ：…`, `"points": ["…"]`."""

from __future__ import annotations

import json
import re
from typing import cast

TOPIC = "topic|theme|subject|テーマ|主題|題材|トピック"
TITLE = "title|article title|タイトル|題名|記事名"
HEADING = "heading|section heading|section|見出し|節|セクション"
_POINTS = "points|key points|bullets|要点|論点"
_KEYWORDS = "keywords|must_mention|terms|キーワード"

_QUOTED = {
    TOPIC: re.compile(r'\btopic[ ,:]+[“"]([^”"\n]{3,120})[”"]', re.IGNORECASE),
    TITLE: re.compile(
        r'\b(?:called|titled|title[ ,:]+)\s*[“"]([^”"\n]{3,160})[”"]'
        r"|(?:題名|タイトル|題)は?「([^」\n]{2,120})」",
        re.IGNORECASE,
    ),
    HEADING: re.compile(
        r'\bsection[ ,:]+[“"]([^”"\n]{3,160})[”"]|(?:節|セクション)は?「([^」\n]{2,120})」',
        re.IGNORECASE,
    ),
}
_VALUE = r'"((?:[^"\\]|\\.){1,300})"'
_LIST = r"(\[[^\[\]{}]{0,4000}\])"


def first(text: str, names: str) -> str:
    """Return the value that stands first under one of the names, or an empty string."""
    found = _labelled(text, names) or _quoted(text, names)
    return found[0] if found else ""


def last(text: str, names: str) -> str:
    """Return the value that stands last: the part that differs follows what steps share."""
    found = _labelled(text, names) or _quoted(text, names)
    return found[-1] if found else ""


def points(text: str) -> tuple[str, ...]:
    return _listed(text, _POINTS)


def keywords(text: str) -> tuple[str, ...]:
    return _listed(text, _KEYWORDS)


def _labelled(text: str, names: str) -> list[str]:
    in_json = rf'"(?:{names})"\s*:\s*{_VALUE}'
    before = r"[ \t>*_#-]{0,6}(?:its |the |article )?"
    on_a_line = rf"^{before}(?:{names})[*_ ]{{0,3}}[:：][*_ \t]{{0,3}}(\S[^\n]{{0,200}})$"
    pattern = f"{in_json}|{on_a_line}"
    found: list[str] = []
    for match in re.finditer(pattern, text, re.IGNORECASE | re.MULTILINE):
        value = _unescaped(match[1]) if match[1] else match[2].strip().strip("\"'「」")
        if value[:1] not in ("{", "["):
            found.append(value)
    return found


def _quoted(text: str, names: str) -> list[str]:
    matches = _QUOTED[names].finditer(text)
    return [value for match in matches for value in match.groups() if value]


def _listed(text: str, names: str) -> tuple[str, ...]:
    lists = re.findall(rf'(?:\b|")(?:{names})"?\s*[:：]\s*{_LIST}', text, re.IGNORECASE)
    if not lists:
        return ()
    try:
        items: object = json.loads(lists[-1])
    except ValueError:
        return ()
    texts = cast("list[object]", items) if isinstance(items, list) else []
    return tuple(item for item in texts if isinstance(item, str) and item)


def _unescaped(value: str) -> str:
    try:
        text: object = json.loads(f'"{value}"')
    except ValueError:
        return value
    return text if isinstance(text, str) else value
