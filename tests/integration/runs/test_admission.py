"""A worker of few slots, a tenant with more steps than these, and another tenant.

Temporal, the database and what a worker is made of are real; artifacts is played.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

import pytest
from temporalio import activity
from temporalio.client import WorkflowFailureError
from tests.integration.runs.recording_worker import RecordedActivities
from tests.support.runs_service import RunsService
from tests.support.runs_worker import no_processes
from tests.support.waiting import wait_until

from runs.api.launcher import Launcher
from runs.domain.activities import RunRef
from runs.domain.plan import RunStart, workflow_id
from runs.domain.runs import RunStatus
from runs.peers.llm_gateway import LlmGateway
from runs.temporal.client import connect
from runs.temporal_config import TemporalConfig
from runs.worker.activities.admission import WorkerSlots
from runs.worker.composition import InstalledCode, make_activities
from runs.worker.functions import FunctionRegistry
from runs.worker.graphs import GraphRegistry
from runs.worker.temporal_worker import make_worker

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import asyncpg
    import grpc
    from temporalio.client import Client, WorkflowHandle
    from tests.support.databases import TenantDatabases
    from tests.support.runs_peers import FakeArtifacts

    from dataplane.tenants import ManagementPool, TenantPools
    from jsonvalues import JsonValue
    from nagaya_functions import StepContext
    from nagaya_local.parts.temporal import TemporalServer
    from runs.domain.runs import Run
    from servicekit.identity import Principal

SLOTS, SHARE = 4, 3
HELD = {"step": "held", "function": {"function": "hold"}}
QUICK = {"step": "quick", "function": {"function": "note"}}


class Shop:
    """A worker, its functions, and the service that gives it work."""

    def __init__(
        self,
        service: RunsService,
        client: Client,
        queue: str,
        peers: grpc.aio.Channel,
        files: FakeArtifacts,
    ) -> None:
        self.service = service
        self.files = files
        self.client = client
        self.at_once = 0
        self.most_at_once = 0
        self.may_end = asyncio.Event()
        self._workflows: list[WorkflowHandle[object, object]] = []
        functions = FunctionRegistry({"hold": self._hold, "note": self._note})
        slots = WorkerSlots(SLOTS, 75)
        activities = make_activities(
            service.data,
            service.files,
            LlmGateway(peers),
            InstalledCode(functions, GraphRegistry({})),
            no_processes(),
            slots,
        )
        self.worker = make_worker(client, queue, activities.all, slots)

    async def runs(self, count: int, tenant_id: str = "acme") -> list[Run]:
        created = [await self.service.run(tenant_id=tenant_id) for _ in range(count)]
        self._workflows += [self.workflow(run, tenant_id) for run in created]
        return created

    async def empty(self) -> None:
        """Let every run come to its end."""
        self.may_end.set()
        ends = (workflow.result() for workflow in self._workflows)
        await asyncio.gather(*ends, return_exceptions=True)

    def workflow(self, run: Run, tenant_id: str = "acme") -> WorkflowHandle[object, object]:
        return self.client.get_workflow_handle(workflow_id(tenant_id, run.run_id))

    async def ended(self, *runs: Run, tenant_id: str = "acme") -> list[RunStatus]:
        await asyncio.gather(*(self.workflow(run, tenant_id).result() for run in runs))
        return [(await self.service.find(run.run_id, tenant_id)).status for run in runs]

    async def handed_back(self, *runs: Run) -> list[Run]:
        """Return those whose step was handed back, once it is all but a tenant's share."""

        async def handed_back() -> list[Run]:
            attempts = [await self._attempt(run) for run in runs]
            back = [run for run, attempt in zip(runs, attempts, strict=True) if attempt > 1]
            return back if len(back) == len(runs) - SHARE else []

        return await wait_until(handed_back)

    async def holding(self, count: int) -> bool:
        return self.at_once == count

    async def handed_over(self, *runs: Run) -> bool:
        """Return whether each run has an activity that is not local."""
        described = [await self.workflow(run).describe() for run in runs]
        return all(each.raw_description.pending_activities for each in described)

    async def _attempt(self, run: Run) -> int:
        """Return how often Temporal has handed out the step of a run, by its own count."""
        described = (await self.workflow(run).describe()).raw_description
        return max((step.attempt for step in described.pending_activities), default=0)

    async def _hold(self, context: StepContext) -> JsonValue:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.may_end.wait()
        finally:
            self.at_once -= 1
        return None

    async def _note(self, context: StepContext) -> JsonValue:
        return None


@pytest.fixture
async def client(temporal: TemporalServer) -> Client:
    return await connect(TemporalConfig(temporal.address, "default", ""), lazy=False)


@pytest.fixture
async def shop(
    tenant_databases: TenantDatabases,
    tenants: TenantPools,
    management: ManagementPool,
    client: Client,
    peers: grpc.aio.Channel,
    files: FakeArtifacts,
    ada: Principal,
) -> AsyncGenerator[Shop]:
    await tenant_databases.add_tenant("bolt")
    queue = f"runs-{secrets.token_hex(4)}"
    service = RunsService(tenants, management, Launcher(client, queue), peers)
    shop = Shop(service, client, queue, peers, files)
    async with shop.worker:
        yield shop
        await shop.empty()


async def test_a_tenant_that_fills_its_share_leaves_room_for_another(
    shop: Shop, database: asyncpg.Connection
) -> None:
    await shop.service.pipeline(HELD)
    await shop.service.pipeline(QUICK, tenant_id="bolt")
    held = await shop.runs(10)
    back = await shop.handed_back(*held)

    quick = await shop.runs(3, "bolt")
    async with asyncio.timeout(60):
        assert await shop.ended(*quick, tenant_id="bolt") == [RunStatus.COMPLETED] * 3
    assert shop.at_once == SHARE

    shop.may_end.set()
    assert await shop.ended(*held) == [RunStatus.COMPLETED] * 10
    assert shop.most_at_once == SHARE
    rows = await database.fetch(
        "SELECT steps.retry_count, count(*) FROM steps JOIN step_attempts ON step_id = steps.id"
        " GROUP BY steps.id"
    )
    assert [tuple(row) for row in rows] == [(0, 1)] * 10
    histories = {len((await shop.workflow(run).fetch_history()).events) for run in back}
    assert histories == {12}, "handing back adds nothing"
    numbers = await database.fetch("SELECT last_seq FROM runs")
    assert len({row["last_seq"] for row in numbers}) == 1


async def test_steps_that_wait_for_their_tenants_share_are_not_shown_as_stuck(shop: Shop) -> None:
    await shop.service.pipeline(HELD)
    (run, *_) = await shop.handed_back(*await shop.runs(SHARE + 1))

    state = await shop.service.launcher.describe("acme", run.run_id)
    assert state is not None
    assert (state.status, state.stuck_reason) == ("running", "")


async def test_a_run_whose_step_waits_for_its_tenants_share_can_be_cancelled(
    shop: Shop, database: asyncpg.Connection
) -> None:
    await shop.service.pipeline(HELD)
    (run, *_) = await shop.handed_back(*await shop.runs(SHARE + 1))
    await shop.service.steering.cancel("acme", run.run_id)
    with pytest.raises(WorkflowFailureError):
        await asyncio.wait_for(shop.workflow(run).result(), 50)

    assert (await shop.service.find(run.run_id)).status is RunStatus.CANCELLED
    assert await database.fetchval("SELECT count(*) FROM steps") == SHARE


async def test_a_tenant_alone_gets_all_its_steps_done_although_they_are_more_than_slots(
    shop: Shop, database: asyncpg.Connection
) -> None:
    shop.may_end.set()
    steps = [{**HELD, "step": f"held{number}"} for number in range(20)]
    await shop.service.pipeline(*steps)
    async with asyncio.timeout(30):
        assert await shop.ended(*await shop.runs(2)) == [RunStatus.COMPLETED] * 2

    assert await database.fetchval("SELECT count(*) FROM step_attempts") == 40
    assert shop.most_at_once <= SHARE


class Order(RecordedActivities):
    """RecordedActivities of whose runs were begun, one after another."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[str] = []

    @activity.defn
    async def begin_run(self, run: RunRef) -> bool:
        self.begun.append(run.tenant_id)
        return False


async def test_runs_that_wait_for_a_worker_begin_by_turns_among_tenants(client: Client) -> None:
    recorded, queue = Order(), f"runs-{secrets.token_hex(4)}"
    launcher = Launcher(client, queue)
    starts = [RunStart("acme", secrets.token_hex(8), 1, []) for _ in range(40)]
    starts.append(RunStart("bolt", secrets.token_hex(8), 1, []))
    for start in starts:
        await launcher.start(start)
    async with make_worker(client, queue, recorded.activities, WorkerSlots(SLOTS, 75)):
        for start in starts:
            await client.get_workflow_handle(start.workflow_id).result()

    assert len(recorded.begun) == 41
    assert recorded.begun.index("bolt") < 20


async def test_maps_of_short_steps_keep_no_other_tenant_from_its_runs(shop: Shop) -> None:
    short = {"step": "held", "function": {"function": "hold", "short": True}}
    await shop.service.pipeline({**short, "map": {"step": "input"}})
    await shop.service.pipeline(QUICK, tenant_id="bolt")
    shop.files.values = b"[" + b",".join([b"0"] * 100) + b"]"
    held = await shop.runs(4)
    await wait_until(lambda: shop.holding(50))
    await wait_until(lambda: shop.handed_over(*held))

    quick = await shop.runs(3, "bolt")
    async with asyncio.timeout(60):
        assert await shop.ended(*quick, tenant_id="bolt") == [RunStatus.COMPLETED] * 3
    assert shop.most_at_once == 50

    shop.may_end.set()
    assert await shop.ended(*held) == [RunStatus.COMPLETED] * 4
