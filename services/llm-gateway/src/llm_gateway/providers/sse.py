"""Server-sent events, from bytes as they come."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_EVENT = 16 << 20
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class EventTooLong(Exception):
    """One event is longer than anybody needs."""


class EventParser:
    """Turns pieces of a text/event-stream into the data of its events, however they are cut.

    Types and ids of events are left out: every provider repeats the type in the data.
    """

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._size = 0
        self._begun = False

    def feed(self, piece: bytes) -> Iterator[str]:
        """Take the next bytes; yield the data of the events that they complete.

        Raises EventTooLong.
        """
        self._keep(piece)
        if b"\n" not in piece and b"\r" not in piece:
            return  # no line ends: what is kept need not be looked through again
        *blocks, rest = self._lines().split(b"\n\n")
        held, self._rest, self._size = self._rest, [], 0
        self._keep(rest, *held)
        for block in blocks:
            data = _data(block)
            if data is not None:
                yield data

    def finish(self) -> Iterator[str]:
        """Yield the event that the end of the stream completes, where a server left out its end."""
        data = _data(self._lines())
        self._rest = []
        if data is not None:
            yield data

    def _keep(self, *pieces: bytes) -> None:
        self._rest += pieces
        self._size += sum(map(len, pieces))
        if self._size > _MAX_EVENT:
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


def _data(block: bytes) -> str | None:
    """Return what the data lines of a block say; None when it has none."""
    values = [
        line[6:] if line.startswith(b"data: ") else line[5:]
        for line in block.split(b"\n")
        if line.startswith(b"data:") or line == b"data"
    ]
    return b"\n".join(values).decode(errors="replace") if values else None
