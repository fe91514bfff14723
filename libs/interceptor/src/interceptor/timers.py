"""One timer for many things that take equally long."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Timers(Generic[T]):
    """Calls `due` with what was started so many seconds ago and has not been stopped.

    All have the same length, so they end in the order of their beginning, and one timer serves
    them all: a timer each would cost more than most of what is done with a call.
    """

    def __init__(self, seconds: float, due: Callable[[T], None]) -> None:
        self._seconds = seconds
        self._due = due
        self._running: dict[T, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self, item: T) -> None:
        """Give an item its seconds from now on."""
        self._running.pop(item, None)  # what begins anew ends last
        self._running[item] = time.monotonic() + self._seconds
        if self._timer is None:
            self._arm(self._seconds)

    def stop(self, item: T) -> None:
        """Leave an item in peace."""
        self._running.pop(item, None)

    def _arm(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._end_due)

    def _end_due(self) -> None:
        self._timer = None
        while self._running:
            item, due = next(iter(self._running.items()))
            if (left := due - time.monotonic()) > 0:
                self._arm(left)
                return
            del self._running[item]
            self._due(item)
