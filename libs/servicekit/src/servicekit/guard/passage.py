"""One call on its way through the guard, and what ends it when it takes too long."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from interceptor.timers import Timers
from servicekit.call import Call

if TYPE_CHECKING:
    import asyncio

    from opentelemetry.trace import Span

    from interceptor.places import Places
    from interceptor.turns import Turn
    from servicekit.policy import Method


class Passage(Call):
    """A call, with what the guard keeps about it."""

    __slots__ = (
        "arrived",
        "bytes_in",
        "bytes_out",
        "code",
        "ended_by",
        "entered",
        "holder",
        "large",
        "reason",
        "seconds",
        "span",
        "started",
        "task",
        "turn",
    )

    def __init__(self, method: Method) -> None:
        super().__init__(method=method)
        self.started = time.monotonic()
        self.seconds = 0.0
        self.bytes_in = self.bytes_out = 0
        self.code = self.reason = self.ended_by = ""
        self.arrived = False
        self.entered: Places | None = None
        self.holder = ""
        self.turn: Turn | None = None
        self.large: Turn | None = None
        self.task: asyncio.Task[object] | None = None
        self.span: Span | None = None

    def end(self, code: str) -> None:
        """Note how the call ended, and when."""
        self.task = None
        self.code = code
        self.seconds = time.monotonic() - self.started


class Timeouts(Timers[Passage]):
    """Cancels calls that take longer than so many seconds."""

    def __init__(self, seconds: float, why: str) -> None:
        super().__init__(seconds, self._end)
        self._why = why

    def _end(self, passage: Passage) -> None:
        if passage.task is not None and not passage.ended_by:
            passage.ended_by = self._why
            passage.task.cancel()
