"""Many timeouts of one length on one timer of the event loop."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Timers(Generic[T]):
    """Calls `on_timeout` with each item that was started `seconds` ago and not stopped since.

    All have the same length, so they expire in the order in which they were started, and one timer
    of the loop serves them all: one for each would cost more than most of what a call does.
    """

    def __init__(self, seconds: float, on_timeout: Callable[[T], None]) -> None:
        self._seconds = seconds
        self._on_timeout = on_timeout
        self._running: dict[T, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self, item: T) -> None:
        """Start, or restart, the timeout of an item."""
        if item in self._running:
            del self._running[item]  # a restarted item expires last
        self._running[item] = time.monotonic() + self._seconds
        if self._timer is None:
            self._schedule(self._seconds)

    def stop(self, item: T) -> None:
        """Stop the timeout of an item; nothing happens when there is none."""
        self._running.pop(item, None)

    def _schedule(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._expire)

    def _expire(self) -> None:
        self._timer = None
        while self._running:
            item, due = next(iter(self._running.items()))
            if (left := due - time.monotonic()) > 0:
                self._schedule(left)
                return
            del self._running[item]
            self._on_timeout(item)
