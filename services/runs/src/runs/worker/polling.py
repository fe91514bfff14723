"""Whether Temporal sees this worker asking for tasks: only then it is ready."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from runs.errors import TemporalUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from monitoring.readiness import Readiness
    from runs.temporal.task_queues import TaskQueues

_SECONDS = 10.0
_SOON_SECONDS = 0.5
_CONDITION = "polling"


class PollingCheck:
    """Asks Temporal every ten seconds; more often until this worker is seen first."""

    def __init__(
        self, queues: TaskQueues, task_queue: str, identity: str, readiness: Readiness
    ) -> None:
        self._queues = queues
        self._task_queue = task_queue
        self._identity = identity
        self._readiness = readiness

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Keep the readiness up to date inside the block; afterwards the worker is not ready."""
        self._readiness.wait_for(_CONDITION, "Temporal: it has not asked for tasks yet")
        self._readiness.started()
        checking = asyncio.create_task(self._check_forever())
        try:
            yield
        finally:
            checking.cancel()
            await asyncio.gather(checking, return_exceptions=True)

    async def _check_forever(self) -> None:
        while True:
            seen = await self._is_seen()
            await asyncio.sleep(_SECONDS if seen else _SOON_SECONDS)

    async def _is_seen(self) -> bool:
        try:
            found = await self._queues.find(self._task_queue, "activity")
        except TemporalUnavailable as error:
            self._readiness.wait_for(_CONDITION, error.message)
            return False
        if self._identity in found.pollers:
            self._readiness.found(_CONDITION)
            return True
        queue = self._task_queue
        self._readiness.wait_for(_CONDITION, f"Temporal: this worker asks for no tasks of {queue}")
        return False
