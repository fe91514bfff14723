"""Short steps of workflows before version 4, which local activities do one by one."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

import pytest
from temporalio import activity
from tests.integration.runs.recording_worker import NOTHING, RecordedActivities
from tests.integration.runs.test_admission import SLOTS
from tests.integration.runs.test_workflow import BY_STEPS

from runs.api.launcher import Launcher
from runs.domain.activities import StepRef, StepResult
from runs.domain.plan import Plan, PlanStep, RunStart
from runs.temporal.client import connect
from runs.temporal_config import TemporalConfig
from runs.worker.activities.admission import WorkerSlots
from runs.worker.temporal_worker import make_worker

if TYPE_CHECKING:
    from temporalio.client import Client

    from nagaya_local.parts.temporal import TemporalServer


@pytest.fixture
async def client(temporal: TemporalServer) -> Client:
    return await connect(TemporalConfig(temporal.address, "default", ""), lazy=False)


class Patient(RecordedActivities):
    """RecordedActivities whose short steps of the tenant `acme` wait until they may end."""

    def __init__(self) -> None:
        super().__init__(list_length=50)
        self.waiting = 0
        self.fifty_wait = asyncio.Event()
        self.may_end = asyncio.Event()

    @activity.defn
    async def run_short_step(self, work: StepRef) -> StepResult:
        if work.tenant_id == "acme":
            self.waiting += 1
            if self.waiting == 50:
                self.fifty_wait.set()
            await self.may_end.wait()
        return NOTHING


async def test_maps_of_short_steps_kept_no_other_tenant_from_beginning_and_ending(
    client: Client,
) -> None:
    recorded, queue = Patient(), f"runs-{secrets.token_hex(4)}"
    launcher = Launcher(client, queue)
    maps = Plan((PlanStep("short", "function", short=True, map_step="input"),)).compact()
    plain = Plan((PlanStep("short", "function", short=True),)).compact()
    starts = [RunStart("acme", secrets.token_hex(8), 1, maps, BY_STEPS) for _ in range(4)]
    other = RunStart("bolt", secrets.token_hex(8), 1, plain, BY_STEPS)
    async with make_worker(client, queue, recorded.activities, WorkerSlots(SLOTS, 75)):
        for start in starts:
            await launcher.start(start)
        await asyncio.wait_for(recorded.fifty_wait.wait(), 50)
        await launcher.start(other)
        await asyncio.wait_for(client.get_workflow_handle(other.workflow_id).result(), 50)
        assert [end.tenant_id for end in recorded.ends] == ["bolt"]
        assert recorded.waiting == 50
        recorded.may_end.set()
        for start in starts:
            await client.get_workflow_handle(start.workflow_id).result()
    assert recorded.waiting == 200
