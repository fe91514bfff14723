"""Looks at the task queues of workers, as metrics: whether anybody works, and what waits."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from runs.api.metrics import (
    TASK_QUEUE_AGE,
    TASK_QUEUE_BACKLOG,
    TASK_QUEUE_POLLERS,
    TEMPORAL_REACHABLE,
)
from runs.domain.installed import queue_name
from runs.errors import TemporalUnavailable
from runs.store import workers
from servicekit.periodic import PeriodicTask

if TYPE_CHECKING:
    from collections.abc import Callable

    from dataplane.tenants import ManagementPool
    from monitoring.readings import Readings
    from runs.temporal.task_queues import TaskQueues, TaskQueueState

_SECONDS = 10.0
_COMMON = ""
_log = logging.getLogger(__name__)


class TaskQueueWatch:
    """Looks every ten seconds, in each process: at the common queue, and at those of pipelines."""

    def __init__(self, management: ManagementPool, queues: TaskQueues, task_queue: str) -> None:
        self._management = management
        self._queues = queues
        self._task_queue = task_queue
        self._own: tuple[str, ...] = ()
        self._states: dict[tuple[str, str], TaskQueueState] = {}
        self.task = PeriodicTask(
            self.look,
            _SECONDS,
            _log,
            "task_queues.unavailable",
            "the task queues of workers are not known",
        )
        TASK_QUEUE_POLLERS.read_by(lambda: self._read(lambda state: len(state.pollers)))
        TASK_QUEUE_BACKLOG.read_by(lambda: self._read(lambda state: state.backlog))
        TASK_QUEUE_AGE.read_by(lambda: self._read(lambda state: state.oldest_seconds))

    async def look(self) -> None:
        """Look once. Raises TemporalUnavailable, and DomainError without the management database.

        While that is away, the queues of pipelines are those that were known before.
        """
        states: dict[tuple[str, str], TaskQueueState] = {}
        try:
            for own in (_COMMON, *self._own):
                name = queue_name(self._task_queue, own)
                for kind in ("workflow", "activity"):
                    states[name, kind] = await self._queues.find(name, kind)
        except TemporalUnavailable:
            TEMPORAL_REACHABLE.set(0)
            self._states.clear()
            raise
        self._states = states  # without queues that are not watched any more
        TEMPORAL_REACHABLE.set(1)
        async with self._management.connection() as connection:
            self._own = await workers.queues(connection)

    def _read(self, value: Callable[[TaskQueueState], float]) -> Readings:
        return [(labels, value(state)) for labels, state in list(self._states.items())]
