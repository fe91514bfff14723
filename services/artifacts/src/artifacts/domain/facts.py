"""What the service says of a file by itself: facts that it counted, never an excerpt."""

from __future__ import annotations

import codecs
import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from artifacts.domain.files import CHUNK_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from artifacts.domain.files import Draft, JsonValue

_FENCED = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#{1,6}[ \t]+\S", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Facts:
    """A summary, and the metrics `bytes` and, for text and JSON, `characters`."""

    summary: str
    metrics: Mapping[str, int]


class FactFinder:
    """Counts a file chunk by chunk; tells the structure of one that is a single chunk."""

    def __init__(self, file_type: str) -> None:
        self._json = _is_json(file_type)
        self._decoder = codecs.getincrementaldecoder("utf-8")() if _is_text(file_type) else None
        self._size = 0
        self._characters = 0
        self._first = b""

    def add(self, chunk: bytes) -> None:
        if not self._size:
            self._first = chunk
        self._size += len(chunk)
        if self._decoder is not None:
            self._count(chunk)

    def facts(self) -> Facts:
        if self._decoder is not None:
            self._count(b"", final=True)
        if self._decoder is None:
            return Facts(_count(self._size, "byte"), {"bytes": self._size})
        characters, told = self._characters, ""
        if self._size <= CHUNK_BYTES:
            characters, told = _describe(self._first.decode(), is_json=self._json)
        summary = told or _count(characters, "character")
        return Facts(summary, {"bytes": self._size, "characters": characters})

    def _count(self, chunk: bytes, *, final: bool = False) -> None:
        """Count characters; bytes that are no UTF-8 make the file one that is not text."""
        if self._decoder is None:
            return
        try:
            self._characters += len(self._decoder.decode(chunk, final))
        except UnicodeDecodeError:
            self._decoder = None


def facts_of(body: bytes, file_type: str) -> Facts:
    """Count a whole body."""
    finder = FactFinder(file_type)
    for start in range(0, len(body), CHUNK_BYTES):
        finder.add(body[start : start + CHUNK_BYTES])
    return finder.facts()


def described(draft: Draft, facts: Facts) -> Draft:
    """Complete what a writer says by what was counted, which has the last word on its own."""
    return replace(
        draft,
        summary=draft.summary or facts.summary,
        metrics={**draft.metrics, **facts.metrics},
        fractional_metrics={
            name: number
            for name, number in draft.fractional_metrics.items()
            if name not in facts.metrics
        },
    )


def _is_json(file_type: str) -> bool:
    return file_type == "application/json" or file_type.endswith("+json")


def _is_text(file_type: str) -> bool:
    return file_type.startswith("text/") or _is_json(file_type)


def _describe(text: str, *, is_json: bool) -> tuple[int, str]:
    """Return how many characters a text, or the string that a JSON is, has; and what to say."""
    value: str | dict[str, JsonValue] | list[JsonValue] | float | None = text
    if is_json:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return len(text), ""
    match value:
        case str():
            headings = len(_HEADING.findall(_FENCED.sub("", value)))
            said = _count(len(value), "character")
            return len(value), f"{said}, {_count(headings, 'heading')}" if headings else said
        case dict():
            fields = _count(len(value), "field")
            return len(text), f"object of {fields}, {_count(len(text), 'character')}"
        case list():
            return len(text), f"list of {_count(len(value), 'item')}"
        case True | False | None:
            return len(text), json.dumps(value)
        case _:
            return len(text), "number"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
