"""One call on its way through the guard, and what ends it when it takes too long."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from servicekit.call import Call

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from servicekit.policy import Method


class Passage(Call):
    """A call, with what the guard keeps about it."""

    __slots__ = (
        "bytes_in",
        "bytes_out",
        "code",
        "ended_by",
        "entered",
        "reason",
        "seconds",
        "span",
        "started",
        "task",
    )

    def __init__(self, method: Method) -> None:
        super().__init__(method=method)
        self.started = time.monotonic()
        self.seconds = 0.0
        self.bytes_in = self.bytes_out = 0
        self.code = self.reason = self.ended_by = ""
        self.entered = False
        self.task: asyncio.Task[object] | None = None
        self.span: Span | None = None

    def end(self, code: str) -> None:
        """Note how the call ended, and when."""
        self.task = None
        self.code = code
        self.seconds = time.monotonic() - self.started


class Timeouts:
    """Cancels what takes longer than so many seconds.

    All have the same length, so they end in the order of their beginning, and one timer serves
    them all: a timer a call would cost more than most of the guard.
    """

    def __init__(self, seconds: float, why: str) -> None:
        self._seconds = seconds
        self._why = why
        self._running: dict[Passage, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self, passage: Passage) -> None:
        """Give a call its seconds from now on."""
        self._running[passage] = time.monotonic() + self._seconds
        if self._timer is None:
            self._arm(self._seconds)

    def stop(self, passage: Passage) -> None:
        """Leave a call in peace."""
        self._running.pop(passage, None)

    def _arm(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._end_due)

    def _end_due(self) -> None:
        self._timer = None
        while self._running:
            passage, due = next(iter(self._running.items()))
            if (left := due - time.monotonic()) > 0:
                self._arm(left)
                return
            del self._running[passage]
            if passage.task is not None and not passage.ended_by:
                passage.ended_by = self._why
                passage.task.cancel()
