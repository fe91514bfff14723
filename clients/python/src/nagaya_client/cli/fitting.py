"""Tables that are wider than the terminal, made to fit: wrapped lines cannot be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nagaya_client.cli import values

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Column = tuple[str, ...]

_SAYS_NOTHING = ("", "0", "no")
_LEAST = 12
"""To how many letters a text is cut at most."""
_GAP = 2
_TEXTS = frozenset(
    [
        "OUTPUT",
        "REASON",
        "REPLY",
        "SUMMARY",
        "FAILURE",
        "WHY",
        "WHAT",
        "HINT",
        "QUESTION",
        "MODEL",
        "RULE",
        "LABELS",
        "VARIABLES",
        "SHA256",
        "DIGEST",
        "NAME",
        "URL",
    ]
)
"""Columns whose texts may be cut; what is not among them names or counts something."""


def fitted(
    header: tuple[str, ...], rows: Sequence[tuple[str, ...]], room: int
) -> tuple[list[tuple[str, ...]], list[str]]:
    """Return a table of at most `room` columns of letters, header first, and what it lacks.

    First the columns go that say nothing in any row, then texts are cut, then columns go from the
    right, all but the first; the headers of these are what the table lacks.
    """
    columns: list[Column] = [(name, *cells) for name, *cells in zip(header, *rows, strict=True)]
    for nothing in (_SAYS_NOTHING[:1], _SAYS_NOTHING):
        if _width(columns) > room:
            columns = [columns[0], *_without(columns[1:], nothing)]
    columns = _cut(columns, room)
    lacking: list[str] = []
    while _width(columns) > room and len(columns) > 1:
        lacking.insert(0, columns.pop()[0])
    return list(zip(*columns, strict=True)), lacking


def _without(columns: Sequence[Column], nothing: tuple[str, ...]) -> list[Column]:
    return [column for column in columns if any(cell not in nothing for cell in column[1:])]


def _cut(columns: list[Column], room: int) -> list[Column]:
    """Cut the widest text again and again, until all fits or each is as short as may be."""
    while (excess := _width(columns) - room) > 0:
        texts = [index for index, column in enumerate(columns) if column[0] in _TEXTS]
        widest = max(texts, key=_wide(columns), default=None)
        if widest is None or _wide(columns)(widest) <= _LEAST:
            return columns
        others = sorted(map(_wide(columns), texts), reverse=True)[1:2]
        wide = _wide(columns)(widest)
        wanted = max(_LEAST, wide - excess, min(others[0] if others else 0, wide - 1))
        columns[widest] = tuple(_shortened(cell, wanted) for cell in columns[widest])
    return columns


def _wide(columns: Sequence[Column]) -> Callable[[int], int]:
    return lambda index: max(map(values.width, columns[index]))


def _shortened(text: str, room: int) -> str:
    if values.width(text) <= room:
        return text
    while values.width(text) >= room:
        text = text[:-1]
    return f"{text}…"


def _width(columns: Sequence[Column]) -> int:
    wide = _wide(columns)
    return sum(map(wide, range(len(columns)))) + _GAP * (len(columns) - 1)
