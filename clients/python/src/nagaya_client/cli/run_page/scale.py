"""The time axis of a run's page."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nagaya_client.cli.run_page.markup import Markup, element, joined

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.timestamp_pb2 import Timestamp

    from nagaya.runs.v1 import run_pb2

_TICKS = 5
_LAST_TICK = 0.92  # one that is farther right has no room
_UNITS = (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0), ("s", 1.0), ("ms", 0.001))
_STEPS = (1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 50.0, 100.0, 200.0, 500.0, 1_000.0)


@dataclass(frozen=True, slots=True)
class Scale:
    """From a moment to its place, in percent of the axis. Moments are nanoseconds."""

    begin: int
    end: int

    @classmethod
    def of(cls, run: run_pb2.Run, ends: Iterable[Timestamp]) -> Scale:
        """Begin where the run was created, and end with the last of its pieces, or now."""
        begin = run.create_time.ToNanoseconds()
        if run.HasField("end_time"):
            last = max((end.ToNanoseconds() for end in (run.end_time, *ends)), default=begin)
        else:
            last = time.time_ns()
        return cls(begin, max(last, begin + 1_000_000))

    @property
    def seconds(self) -> float:
        return (self.end - self.begin) / 1e9

    def place(self, moment: int) -> float:
        """Return where a moment is: 0 to 100."""
        return 100 * min(max((moment - self.begin) / (self.end - self.begin), 0.0), 1.0)

    def span(self, work: run_pb2.RunStep | run_pb2.StepAttempt | run_pb2.RunPhase) -> Span:
        """Return from when to when something lasted; what has not ended lasts to the end."""
        begin = work.start_time.ToNanoseconds() if work.HasField("start_time") else self.begin
        end = work.end_time.ToNanoseconds() if work.HasField("end_time") else self.end
        return Span(begin, max(begin, end))

    def bar(self, span: Span, kind: str, title: str) -> Markup:
        left = self.place(span.begin)
        width = max(self.place(span.end) - left, 0.0)
        return element("b", class_=kind, style=f"left:{left:.3f}%;width:{width:.3f}%", title=title)

    def every(self) -> float:
        """Return the seconds between two ticks."""
        wanted = self.seconds / _TICKS
        unit = next((size for _, size in _UNITS if wanted >= size), _UNITS[-1][1])
        return unit * next(step for step in _STEPS if step * unit >= wanted or step == _STEPS[-1])

    def axis(self) -> Markup:
        every = self.every()
        ticks = [number * every for number in range(int(self.seconds / every) + 1)]
        return element(
            "span",
            joined(
                *(
                    element("span", _tick(at), style=f"left:{100 * at / self.seconds:.3f}%")
                    for at in ticks
                    if at <= _LAST_TICK * self.seconds
                )
            ),
            class_="axis",
        )


@dataclass(frozen=True, slots=True)
class Span:
    """From one moment to another, in nanoseconds."""

    begin: int
    end: int

    @property
    def seconds(self) -> float:
        return (self.end - self.begin) / 1e9


def _tick(seconds: float) -> str:
    if seconds < 60:
        return took(seconds)
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return took(seconds)
    return f"{hours}:{minutes:02} h" if hours else f"{minutes}:{rest:02}"


def took(seconds: float) -> str:
    """Return how long something took, with two digits or three: `0 s`, `420 ms`, `3 min 20 s`."""
    if seconds == 0:
        return "0 s"
    if seconds < 1:
        return f"{seconds * 1_000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    units = [(name, int(size)) for name, size in _UNITS if size >= 1]
    whole = round(seconds)
    place = next(index for index, (_, size) in enumerate(units) if whole >= size)
    first, rest = divmod(whole, units[place][1])
    if not rest or place + 1 == len(units):
        return f"{first} {units[place][0]}"
    second = rest // units[place + 1][1]
    return f"{first} {units[place][0]}" + (f" {second} {units[place + 1][0]}" if second else "")
