"""Server-sent events, from bytes as they come."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_EVENT = 16 << 20
_EMPTY_LINE = re.compile(rb"\n\n|\n\r|\r\r")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class EventTooLong(Exception):
    """One event is longer than 16 MiB."""


class Event(NamedTuple):
    """One event: its name, empty where it has none, and its data as bytes."""

    name: str
    data: bytes


class EventParser:
    """Parses a text/event-stream that arrives in pieces; ids are ignored."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._size = 0
        self._begun = False
        self._last = b""

    def feed(self, piece: bytes) -> Iterator[Event]:
        """Take the next bytes; yield the events that they complete. Raises EventTooLong."""
        self._keep(piece)
        self._last = self._last[-3:] + piece
        if not _EMPTY_LINE.search(self._last):
            return  # no event ends: what is kept need not be searched again
        *blocks, rest = self._lines().split(b"\n\n")
        held, self._rest, self._size = self._rest, [], 0
        self._keep(rest, *held)
        for block in blocks:
            event = _event(block)
            if event is not None:
                yield event

    def finish(self) -> Iterator[Event]:
        """Yield the event that the end of the stream completes, where a server left out its end."""
        event = _event(self._lines())
        self._rest = []
        if event is not None:
            yield event

    def _keep(self, *pieces: bytes) -> None:
        self._rest += pieces
        self._size += sum(map(len, pieces))
        if self._size > MAX_EVENT:
            raise EventTooLong

    def _lines(self) -> bytes:
        """Return what is kept, its lines ended alike; a carriage return at its end stays kept."""
        kept = b"".join(self._rest)
        if not self._begun and len(kept) >= len(_BYTE_ORDER_MARK):
            kept, self._begun = kept.removeprefix(_BYTE_ORDER_MARK), True
        self._rest = []
        if b"\r" not in kept:
            return kept
        if kept.endswith(b"\r"):  # a line feed may follow, and belongs to it
            kept, self._rest = kept[:-1], [b"\r"]
        return kept.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _event(block: bytes) -> Event | None:
    """Return the event of a block; None when it has no line of data.

    JSON without `data:` before it is data too: some servers send errors in a stream like that.
    """
    name, values = b"", list[bytes]()
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        if field == b"data":
            values.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ")
    if not values:
        return Event("", block) if block.lstrip().startswith(b"{") else None
    return Event(name.decode(errors="replace").strip(), b"\n".join(values))
