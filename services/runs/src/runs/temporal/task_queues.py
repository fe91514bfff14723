"""What Temporal knows of a task queue: who asks it for tasks, and what waits there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.service import RPCError

from runs.errors import TemporalUnavailable

if TYPE_CHECKING:
    from temporalio.client import Client

_CALL = timedelta(seconds=5)
_POLLS = timedelta(seconds=90)
"""A worker's question stays open for a minute at most; Temporal remembers it for five."""
_TYPES = {
    "workflow": TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    "activity": TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
}


@dataclass(frozen=True, slots=True)
class TaskQueueState:
    """The tasks of one kind of a task queue, and who asks for them."""

    pollers: frozenset[str]
    """The identities of the workers that asked within the last 90 s."""
    backlog: int
    """How many tasks wait, about."""
    oldest_seconds: float
    """How long the oldest has been waiting; 0 without one."""


class TaskQueues:
    """The task queues of one namespace."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def find(self, task_queue: str, kind: Literal["workflow", "activity"]) -> TaskQueueState:
        """Return what Temporal knows of a task queue. Raises TemporalUnavailable."""
        request = DescribeTaskQueueRequest(
            namespace=self._client.namespace,
            task_queue=TaskQueue(name=task_queue),
            task_queue_type=_TYPES[kind],
            report_stats=True,
        )
        try:
            found = await self._client.workflow_service.describe_task_queue(request, timeout=_CALL)
        except (
            RPCError,
            RuntimeError,
        ) as error:  # with the latter it says that it is not connected
            raise TemporalUnavailable(f"Temporal does not describe its queues: {error}") from None
        since = datetime.now(UTC) - _POLLS
        return TaskQueueState(
            frozenset(
                each.identity
                for each in found.pollers
                if each.last_access_time.ToDatetime(UTC) > since
            ),
            found.stats.approximate_backlog_count,
            found.stats.approximate_backlog_age.ToTimedelta().total_seconds(),
        )
