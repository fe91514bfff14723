"""The call log: one line when a call begins, one when it ends, and the same in memory.

A line is one `write` of one whole line to a file opened for appending, so what was logged is in the
file whatever happens to this process or to others. A stub that starts on an existing file goes on
counting, and ends the calls that its predecessor left open with the outcome `lost`.
"""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from llmstub.domain import JsonObject

_KEPT = 100_000  # calls in memory; the file has all


@dataclass(frozen=True, slots=True)
class CallBegin:
    """What is known when a call has been read: the first half of its record."""

    provider: str
    path: str
    kind: str  # generate, count or unknown
    model: str
    stream: bool
    body_digest: str
    idempotency: str | None
    request_id: str  # as the response's header and the reply's id say it
    rule: str | None  # the scripted rule that fires for it
    prompt: str | None = None  # with --log-bodies only


@dataclass(frozen=True, slots=True)
class CallEnd:
    """How a call went. The token buckets do not overlap: their sum is what was used."""

    outcome: str  # ok, refused, dropped, client_gone, stopped, lost, or the fault's name
    fault: str | None = None
    status: int | None = None  # None: no status line was sent
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    finish_reason: str | None = None
    reply_digest: str | None = None  # sha256 of the visible text that was sent
    reply: str | None = None  # with --log-bodies only


@dataclass(frozen=True, slots=True)
class Call:
    """One call; `end` is None as long as it is open."""

    seq: int
    begin_time: str
    begin: CallBegin
    end_time: str | None = None
    end: CallEnd | None = None

    @property
    def outcome(self) -> str:
        return "open" if self.end is None else self.end.outcome

    def record(self) -> JsonObject:
        """Return both halves as one flat object; what is only known at the end is null before."""
        ending = asdict(self.end) if self.end else {each.name: None for each in fields(CallEnd)}
        times: JsonObject = {"begin_time": self.begin_time, "end_time": self.end_time}
        record = {"seq": self.seq} | times | asdict(self.begin) | ending
        return record | {"outcome": self.outcome}


class CallLog:
    """The calls in memory, and their lines in a file."""

    def __init__(self, path: Path | None = None) -> None:
        self._calls: dict[int, Call] = {}
        self._last = 0
        self._file: int | None = None
        self._changed = asyncio.Event()
        if path is not None:
            self._open(path)

    def begin(self, begin: CallBegin) -> int:
        """Log that a call has begun and return its number, counted from 1."""
        self._last += 1
        time = _now()
        self._write({"event": "begin", "seq": self._last, "time": time, **asdict(begin)})
        self._put(Call(self._last, time, begin))
        return self._last

    def end(self, seq: int, end: CallEnd) -> None:
        """Log how a call ended; a second end of the same call is ignored."""
        call = self._calls.get(seq)
        if call is not None and call.end is None:
            time = _now()
            self._write({"event": "end", "seq": seq, "time": time, **asdict(end)})
            self._put(replace(call, end_time=time, end=end))

    def select(self, matches: Callable[[Call], bool] | None = None) -> list[Call]:
        """Return the calls, oldest first, that a condition holds for."""
        return [call for call in self._calls.values() if matches is None or matches(call)]

    async def wait_for(self, count: int, matches: Callable[[Call], bool]) -> list[Call]:
        """Wait until so many calls meet a condition, and return those that do."""
        while len(found := self.select(matches)) < count:
            await self._changed.wait()
        return found

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_bytes() if path.exists() else b""
        for line in lines.splitlines():
            self._recall(line)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        if lines and not lines.endswith(b"\n"):
            os.write(self._file, b"\n")
        for call in self.select(lambda call: call.end is None):
            self.end(call.seq, CallEnd("lost"))

    def _recall(self, line: bytes) -> None:
        try:
            entry = cast("JsonObject", json.loads(line))
            seq, time = cast("int", entry["seq"]), str(entry["time"])
            if entry["event"] == "begin":
                self._last = max(self._last, seq)
                self._put(Call(seq, time, CallBegin(**_known(entry, CallBegin))))
            elif seq in self._calls:
                ended = CallEnd(**_known(entry, CallEnd))
                self._put(replace(self._calls[seq], end_time=time, end=ended))
        except (ValueError, KeyError, TypeError):
            return  # not a line of ours, or cut off by a full disk

    def _put(self, call: Call) -> None:
        self._calls[call.seq] = call
        if len(self._calls) > _KEPT:
            oldest = next(_ended(self._calls), None)
            if oldest is not None:
                del self._calls[oldest]
        self._changed.set()
        self._changed = asyncio.Event()

    def _write(self, entry: JsonObject) -> None:
        if self._file is not None:
            line = json.dumps(entry, ensure_ascii=False, separators=(",", ":"))
            os.write(self._file, f"{line}\n".encode())


def _ended(calls: dict[int, Call]) -> Iterator[int]:
    return (seq for seq, call in calls.items() if call.end is not None)


def _known(entry: JsonObject, half: type[CallBegin | CallEnd]) -> dict[str, Any]:
    """Return a line's values for a record; a line without one of them raises KeyError."""
    return {each.name: entry[each.name] for each in fields(half)}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
