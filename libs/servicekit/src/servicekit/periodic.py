"""What a process does every so many seconds beside its calls."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from servicekit.errors import DomainError
from servicekit.retries import RetryLog, is_transient

if TYPE_CHECKING:
    import logging
    from collections.abc import Awaitable, Callable

    from servicekit.retries import Transient


class PeriodicTask:
    """Awaits `action()` every `seconds`, a quarter more or less, in the background; 0 is never.

    A transient error is logged as a RetryLog of `event` does; any other is a defect, and logged
    with its stack trace, such as `overview.failed`. After either it goes on. An action that takes
    longer than `seconds` is followed by the next at once. `wait_first` has the first wait too.
    """

    def __init__(
        self,
        action: Callable[[], Awaitable[object]],
        seconds: float,
        logger: logging.Logger,
        event: str,
        message: str,
        *,
        transient: Transient = DomainError,
        wait_first: bool = False,
    ) -> None:
        self._action, self._seconds, self._wait_first = action, seconds, wait_first
        self._retry_log, self._transient = RetryLog(logger, event, message), transient
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        if self._seconds:
            self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Cancel what is under way, and wait for its end; nothing if it was not started."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait((self._running,))

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + (self._pause() if self._wait_first else 0.0)
        while True:
            await asyncio.sleep(due - loop.time())
            due = loop.time() + self._pause()
            try:
                await self._action()
            except Exception as error:
                if is_transient(error, self._transient):
                    self._retry_log.failed(error)
                else:
                    self._retry_log.defect(error)
            else:
                self._retry_log.succeeded()

    def _pause(self) -> float:
        return self._seconds * random.uniform(0.75, 1.25)  # noqa: S311 - keeps replicas apart
