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
from tests.integration.runs.recording_worker import NOTHING, RecordedActivities
from tests.support.runs_service import RunsService
from tests.support.runs_worker import no_processes
from tests.support.waiting import wait_until

from runs.api.launcher import Launcher
from runs.config import TemporalConfig
from runs.domain.activities import RunRef, StepRef, StepResult
from runs.domain.plan import WORKFLOW_VERSION, Plan, PlanStep, RunStart, workflow_id
from runs.domain.runs import RunStatus
from runs.peers.llm_gateway import LlmGateway
from runs.temporal.client import connect
from runs.worker.activities.admission import WorkerSlots
from runs.worker.activities.error_files import ErrorFiles
from runs.worker.activities.function import FunctionStepRunner
from runs.worker.activities.llm import LlmStepRunner
from runs.worker.activities.runs import RunActivities
from runs.worker.activities.step_inputs import StepInputFinder
from runs.worker.activities.steps import StepActivities
from runs.worker.functions import FunctionRegistry
from runs.worker.temporal_worker import make_worker

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import asyncpg
    import grpc
    from temporalio.client import Client, WorkflowHandle
    from tests.support.databases import TenantDatabases

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
        self, service: RunsService, client: Client, queue: str, peers: grpc.aio.Channel
    ) -> None:
        self.service = service
        self.client = client
        self.at_once = 0
        self.most_at_once = 0
        self.may_end = asyncio.Event()
        self._workflows: list[WorkflowHandle[object, object]] = []
        contexts, gateway = service.contexts, LlmGateway(peers)
        runs = RunActivities(service.data, service.journal, contexts, service.initializer, gateway)
        steps = StepActivities(
            service.tenants,
            service.journal,
            service.initializer,
            StepInputFinder(),
            service.files,
            LlmStepRunner(contexts, gateway, service.files),
            FunctionStepRunner(
                FunctionRegistry({"hold": self._hold, "note": self._note}),
                no_processes(),
                service.files,
            ),
            ErrorFiles(service.files),
        )
        activities = [
            *(runs.begin_run, runs.end_run, steps.run_step),
            *(steps.run_short_step, steps.open_map, steps.close_map),
        ]
        self.worker = make_worker(client, queue, activities, WorkerSlots(SLOTS, 75))

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
    ada: Principal,
) -> AsyncGenerator[Shop]:
    await tenant_databases.add_tenant("bolt")
    queue = f"runs-{secrets.token_hex(4)}"
    service = RunsService(tenants, management, Launcher(client, queue), peers)
    shop = Shop(service, client, queue, peers)
    async with shop.worker:
        yield shop
        await shop.empty()


async def test_a_tenant_that_fills_its_share_leaves_room_for_another(
    shop: Shop, database: asyncpg.Connection
) -> None:
    await shop.service.pipeline(HELD)
    await shop.service.pipeline(QUICK, tenant_id="bolt")
    held = await shop.runs(10)
    await shop.handed_back(*held)

    quick = await shop.runs(3, "bolt")
    async with asyncio.timeout(20):
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
    histories = {len((await shop.workflow(run).fetch_history()).events) for run in held}
    assert len(histories) == 1, "handing back adds nothing"
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
    await shop.service.runs.cancel("acme", run.run_id)
    with pytest.raises(WorkflowFailureError):
        await asyncio.wait_for(shop.workflow(run).result(), 20)

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


async def test_maps_of_short_steps_keep_no_other_tenant_from_beginning_and_ending(
    client: Client,
) -> None:
    recorded, queue = Patient(), f"runs-{secrets.token_hex(4)}"
    launcher = Launcher(client, queue)
    maps = Plan((PlanStep("short", "function", short=True, map_step="input"),)).compact()
    plain = Plan((PlanStep("short", "function", short=True),)).compact()
    starts = [RunStart("acme", secrets.token_hex(8), 1, maps, WORKFLOW_VERSION) for _ in range(4)]
    other = RunStart("bolt", secrets.token_hex(8), 1, plain, WORKFLOW_VERSION)
    async with make_worker(client, queue, recorded.activities, WorkerSlots(SLOTS, 75)):
        for start in starts:
            await launcher.start(start)
        await asyncio.wait_for(recorded.fifty_wait.wait(), 20)
        await launcher.start(other)
        await asyncio.wait_for(client.get_workflow_handle(other.workflow_id).result(), 20)
        assert [end.tenant_id for end in recorded.ends] == ["bolt"]
        assert recorded.waiting == 50
        recorded.may_end.set()
        for start in starts:
            await client.get_workflow_handle(start.workflow_id).result()
    assert recorded.waiting == 200
