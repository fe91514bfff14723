"""How late the event loop is, and whether it turns at all."""

from __future__ import annotations

import asyncio
import time

from monitoring.metrics import LOOP_LAG

_SECONDS = 0.5
_STUCK_SECONDS = 15.0


class EventLoopWatch:
    """Looks at the event loop of the process twice a second."""

    def __init__(self) -> None:
        self._turned_at: float | None = None

    async def run(self) -> None:
        """Observe LOOP_LAG at once, then twice a second, until cancelled."""
        loop = asyncio.get_running_loop()
        seconds = 0.0
        while True:
            due = loop.time() + seconds
            await asyncio.sleep(seconds)
            LOOP_LAG.observe(max(0.0, loop.time() - due))
            self._turned_at = time.monotonic()
            seconds = _SECONDS

    @property
    def age(self) -> float:
        """How many seconds ago the loop turned; 0 before it is looked at."""
        return 0.0 if self._turned_at is None else time.monotonic() - self._turned_at

    @property
    def alive(self) -> bool:
        """Whether the loop turned within the last 15 seconds."""
        return self.age < _STUCK_SECONDS
