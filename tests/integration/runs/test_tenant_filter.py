"""A worker that is for some tenants hands back what is for others."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING
from unittest.mock import AsyncMock, MagicMock

import pytest
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment
from temporalio.worker import ActivityInboundInterceptor
from tests.integration.runs.recording_worker import RecordedActivities, start
from tests.support.waiting import wait_until

from runs.api.launcher import Launcher
from runs.domain.failures import TENANT_NOT_TAKEN
from runs.domain.plan import Plan, PlanStep, workflow_id
from runs.temporal.client import data_converter
from runs.worker.activities.admission import WorkerSlots
from runs.worker.temporal_worker import make_worker
from runs.worker.tenant_filter import TenantFilter

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from temporalio.client import WorkflowHandle
    from temporalio.worker import Worker

    from nagaya_local.parts.temporal import TemporalServer
    from runs.worker.workflows import PipelineRun

BOLT = frozenset({"bolt"})
OTHERS_ONLY = "do not do this tenant's runs"


class Queue:
    """A task queue, and what is known of runs of tenant acme on it."""

    def __init__(self, client: Client, name: str) -> None:
        self.client = client
        self.name = name
        self._launcher = Launcher(client, name)

    @classmethod
    async def of(cls, temporal: TemporalServer) -> Queue:
        name = f"taken-{secrets.token_hex(4)}"
        client = await Client.connect(
            temporal.address, identity=name, data_converter=data_converter()
        )
        return cls(client, name)

    def worker(
        self, recorded: RecordedActivities, tenants: frozenset[str] = frozenset()
    ) -> AbstractAsyncContextManager[Worker]:
        slots = WorkerSlots(20, 75)
        return make_worker(self.client, self.name, recorded.activities, slots, tenants=tenants)

    async def wait_until_refused(self, handle: WorkflowHandle[PipelineRun, None]) -> None:
        async def refused() -> bool:
            state = await self._launcher.describe("acme", handle.id.partition("/")[2])
            return state is not None and OTHERS_ONLY in state.stuck_reason

        await wait_until(refused)


async def test_a_workflow_of_another_tenant_waits_for_a_worker_that_may_do_it(
    temporal: TemporalServer,
) -> None:
    queue, theirs, ours = await Queue.of(temporal), RecordedActivities(), RecordedActivities()
    async with queue.worker(theirs, BOLT):
        handle = await start(queue.client, Plan((PlanStep("a"),)))
        await queue.wait_until_refused(handle)
    async with queue.worker(ours):
        await handle.result()

    assert (theirs.done, theirs.statuses) == ([], [])
    assert (ours.done, ours.statuses) == ([("a", 0)], ["completed"])


async def test_an_activity_of_another_tenant_goes_back_to_be_retried() -> None:
    inner = AsyncMock(spec=ActivityInboundInterceptor)
    inbound = TenantFilter(BOLT).intercept_activity(inner)
    environment = ActivityEnvironment()
    for tenant_id, taken in (("bolt", True), ("acme", False)):
        environment.info = replace(environment.info, workflow_id=workflow_id(tenant_id, "a"))
        run = environment.run(inbound.execute_activity, MagicMock())
        if taken:
            await run
            continue
        with pytest.raises(ApplicationError) as refused:
            await run
        assert (refused.value.type, refused.value.non_retryable) == (TENANT_NOT_TAKEN, False)
        assert refused.value.next_retry_delay is not None

    assert inner.execute_activity.await_count == 1


async def test_a_worker_does_the_runs_of_its_own_tenants(temporal: TemporalServer) -> None:
    queue, recorded = await Queue.of(temporal), RecordedActivities()
    async with queue.worker(recorded, frozenset({"bolt", "acme"})):
        handle = await start(queue.client, Plan((PlanStep("a"),)))
        await handle.result()

    assert handle.id == workflow_id("acme", handle.id.partition("/")[2])
    assert recorded.statuses == ["completed"]
