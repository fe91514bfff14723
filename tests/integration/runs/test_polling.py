"""Whether a worker is ready: Temporal says so, and whether anybody works on a queue."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from temporalio import activity
from temporalio.client import Client
from temporalio.worker import Worker
from tests.support.waiting import wait_until

from monitoring.readiness import Readiness
from runs.temporal.task_queues import TaskQueues
from runs.worker.polling import PollingCheck

if TYPE_CHECKING:
    from nagaya_local.parts.temporal import TemporalServer


@activity.defn
async def nothing() -> None:
    pass


async def test_a_worker_is_ready_once_temporal_sees_it_ask_for_tasks(
    temporal: TemporalServer,
) -> None:
    client, queue = await Client.connect(temporal.address), f"polled-{uuid.uuid4().hex[:8]}"
    queues, readiness = TaskQueues(client), Readiness()
    nobody = await queues.find(queue, "activity")

    async def ready() -> bool:
        return readiness.ready

    async with PollingCheck(queues, queue, client.identity, readiness).running():
        waited_for = readiness.waits_for
        async with Worker(client, task_queue=queue, activities=[nothing]):
            await wait_until(ready)
            found = await queues.find(queue, "activity")

    assert nobody.pollers == frozenset()
    assert waited_for == ("Temporal: it has not asked for tasks yet",)
    assert found.pollers == {client.identity}
    assert (found.backlog, found.oldest_seconds) == (0, 0.0)
