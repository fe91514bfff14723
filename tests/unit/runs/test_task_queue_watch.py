"""The queues whose workers are counted: those that are watched now, and no others."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

from prometheus_client import REGISTRY

from runs.api.relay.task_queues import TaskQueueWatch
from runs.temporal.task_queues import TaskQueues, TaskQueueState

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from dataplane.tenants import ManagementPool

COMMON = "watched"
NOBODY = TaskQueueState(frozenset(), 0, 0.0)


class Management:
    """A management database that knows these pipelines' own queues."""

    def __init__(self) -> None:
        self.queues: list[str] = []

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Management]:
        yield self

    async def fetch(self, _: str) -> list[dict[str, str]]:
        return [{"task_queue": queue} for queue in self.queues]


class NoWorkers:
    async def find(self, *_: str) -> TaskQueueState:
        return NOBODY


def pollers(own: str) -> float | None:
    labels = {"task_queue": f"{COMMON}/{own}", "kind": "workflow"}
    return REGISTRY.get_sample_value("nagaya_task_queue_pollers", labels)


async def test_a_queue_that_is_not_watched_any_more_is_not_one_without_workers() -> None:
    management = Management()
    watch = TaskQueueWatch(
        cast("ManagementPool", management), cast("TaskQueues", NoWorkers()), COMMON
    )
    management.queues = ["gone", "kept"]
    await watch.look()
    await watch.look()
    assert (pollers("gone"), pollers("kept")) == (0, 0)

    management.queues = ["kept"]
    await watch.look()
    await watch.look()

    assert (pollers("gone"), pollers("kept")) == (None, 0)
