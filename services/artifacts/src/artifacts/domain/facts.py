"""Facts about a file that the service counts: sizes and structure, never an excerpt."""

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

_CODE_BLOCK = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#{1,6}[ \t]+\S", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Facts:
    """A summary, and the metrics `bytes` and, for text and JSON, `characters`."""

    summary: str
    metrics: Mapping[str, int]


class FactCounter:
    """Counts a file chunk by chunk; finds the structure of one that is a single chunk."""

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
        """Return the facts, once all chunks were added."""
        if self._decoder is not None:
            self._count(b"", final=True)
        if self._decoder is None:
            return Facts(_count(self._size, "byte"), {"bytes": self._size})
        characters, structure = self._characters, ""
        if self._size <= CHUNK_BYTES:
            characters, structure = _describe(self._first.decode(), is_json=self._json)
        summary = structure or _count(characters, "character")
        return Facts(summary, {"bytes": self._size, "characters": characters})

    def _count(self, chunk: bytes, *, final: bool = False) -> None:
        """Count characters; with bytes that are not UTF-8 the file is no text any more."""
        if self._decoder is None:
            return
        try:
            self._characters += len(self._decoder.decode(chunk, final))
        except UnicodeDecodeError:
            self._decoder = None


def count_facts(body: bytes, file_type: str) -> Facts:
    """Return the facts of a whole body."""
    finder = FactCounter(file_type)
    for start in range(0, len(body), CHUNK_BYTES):
        finder.add(body[start : start + CHUNK_BYTES])
    return finder.facts()


def with_facts(draft: Draft, facts: Facts) -> Draft:
    """Add facts to a draft: the writer's summary wins, the counted metrics win."""
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
    """Return the number of characters of a text, or of a JSON string, and its summary."""
    value: str | dict[str, JsonValue] | list[JsonValue] | float | None = text
    if is_json:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return len(text), ""
    match value:
        case str():
            headings = len(_HEADING.findall(_CODE_BLOCK.sub("", value)))
            counted = _count(len(value), "character")
            return len(value), f"{counted}, {_count(headings, 'heading')}" if headings else counted
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
