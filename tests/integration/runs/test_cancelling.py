"""Cancelling runs whose workflow is gone, has ended, or has not arrived yet."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from tests.support.audit_log import chain
from tests.support.runs_service import make_due
from tests.support.runs_worker import no_processes
from tests.support.waiting import wait_until

from runs.api.launcher import Launcher
from runs.api.relay.reconciler import STALE_AFTER
from runs.domain.activities import StepRef
from runs.domain.plan import RunStart, workflow_id
from runs.domain.runs import RunStatus
from runs.temporal.client import connect
from runs.temporal_config import TemporalConfig
from runs.worker.activities.admission import WorkerSlots
from runs.worker.composition import InstalledCode, make_activities
from runs.worker.functions import FunctionRegistry
from runs.worker.graphs import GraphRegistry
from runs.worker.temporal_worker import make_worker

if TYPE_CHECKING:
    import asyncpg
    from temporalio.client import Client
    from tests.support.runs_service import RunsService

    from nagaya_functions import StepContext
    from nagaya_local.parts.temporal import TemporalServer
    from runs.domain.runs import Run

ENDED = [
    (1, "run", "pending"),
    (2, "run", "running"),
    (3, "step", "running"),
    (4, "run", "running"),  # and is told to stop
    (5, "step", "cancelled"),
    (6, "run", "cancelled"),
]


@pytest.fixture
async def client(temporal: TemporalServer) -> Client:
    return await connect(TemporalConfig(temporal.address, "default", ""), lazy=False)


async def begun(service: RunsService, database: asyncpg.Connection) -> Run:
    """Create a run that is at its first step."""
    await service.pipeline()
    run = await service.run()
    await service.begin(run.run_id)
    assert await service.journal.begin(StepRef("acme", run.run_id, 1, "copy")) is not None
    return run


async def lose(client: Client, service: RunsService, run: Run) -> None:
    """Have Temporal forget a workflow, as it does when its retention has passed."""
    execution = WorkflowExecution(workflow_id=workflow_id("acme", run.run_id))
    request = DeleteWorkflowExecutionRequest(namespace="default", workflow_execution=execution)
    await client.workflow_service.delete_workflow_execution(request)

    async def gone() -> bool:
        return await service.launcher.describe("acme", run.run_id) is None

    await wait_until(gone)


async def events(database: asyncpg.Connection) -> list[tuple[int, str, str]]:
    rows = await database.fetch(
        "SELECT seq, kind, payload ->> 'status' AS status FROM run_events ORDER BY seq"
    )
    return [tuple(row) for row in rows]


async def test_a_run_whose_workflow_is_lost_is_cancelled_at_once(
    service: RunsService, client: Client, database: asyncpg.Connection
) -> None:
    run = await begun(service, database)
    await lose(client, service, run)
    cancelled = await service.steering.cancel("acme", run.run_id)
    again = await service.steering.cancel("acme", run.run_id)

    assert (cancelled.status, cancelled.error) == (RunStatus.CANCELLED, None)
    assert again == cancelled == await service.find(run.run_id)
    assert await events(database) == ENDED
    assert await database.fetchval("SELECT count(*) FROM outbox") == 0
    await chain(database)
    actions = await database.fetch("SELECT action, resource_id FROM audit_logs ORDER BY sequence")
    assert [tuple(row) for row in actions[-2:]] == [
        ("run.create", run.run_id),
        ("run.cancel", run.run_id),
    ]


async def test_a_run_that_was_cancelled_while_temporal_was_away_ends_with_the_relay(
    service: RunsService,
    client: Client,
    unreachable_launcher: Launcher,
    database: asyncpg.Connection,
    registry: asyncpg.Connection,
) -> None:
    run = await begun(service, database)
    await lose(client, service, run)
    asked = await service.with_launcher(unreachable_launcher).steering.cancel("acme", run.run_id)
    assert asked.status is RunStatus.RUNNING
    await make_due(database, registry)
    await service.relay(service.launcher, STALE_AFTER).poll()

    assert (await service.find(run.run_id)).status is RunStatus.CANCELLED
    assert await events(database) == ENDED
    assert await database.fetchval("SELECT count(*) FROM outbox") == 0


async def test_a_run_whose_workflow_was_terminated_is_reported_so_when_it_is_cancelled(
    service: RunsService, client: Client, database: asyncpg.Connection
) -> None:
    run = await begun(service, database)
    await client.get_workflow_handle(workflow_id("acme", run.run_id)).terminate()
    ended = await service.steering.cancel("acme", run.run_id)

    assert ended.status is RunStatus.FAILED
    assert ended.error is not None
    assert ended.error.reason == "WORKFLOW_TERMINATED"
    assert await database.fetchval("SELECT count(*) FROM outbox") == 0


class SlowLauncher(Launcher):
    """Starts a workflow only once it may."""

    def __init__(self, client: Client, task_queue: str) -> None:
        super().__init__(client, task_queue)
        self.asked = asyncio.Event()
        self.may_start = asyncio.Event()

    async def start(self, start: RunStart, task_queue: str = "") -> None:
        self.asked.set()
        await self.may_start.wait()
        await super().start(start, task_queue)


@pytest.mark.parametrize("has_begun", [False, True])
async def test_a_start_that_comes_after_the_cancellation_does_nothing(
    service: RunsService, client: Client, database: asyncpg.Connection, *, has_begun: bool
) -> None:
    queue = f"late-{secrets.token_hex(4)}"
    slow = SlowLauncher(client, queue)
    service = service.with_launcher(slow)
    await service.pipeline()
    creating = asyncio.create_task(service.run())
    await asyncio.wait_for(slow.asked.wait(), 50)
    run_id = str(await database.fetchval("SELECT id FROM runs"))
    if has_begun:  # by an earlier start, whose workflow was lost since
        await service.begin(run_id)
    cancelled = await service.steering.cancel("acme", run_id)
    assert cancelled.status is RunStatus.CANCELLED
    slow.may_start.set()
    await creating

    called: list[str] = []

    async def copy(context: StepContext) -> None:
        called.append(context.step)

    code = InstalledCode(FunctionRegistry({"copy": copy}), GraphRegistry({}))
    slots = WorkerSlots(4, 75)
    activities = make_activities(
        service.data, service.files, service.gateway, code, no_processes(), slots
    )
    async with make_worker(client, queue, activities.all, slots):
        await client.get_workflow_handle(workflow_id("acme", run_id)).result()

    assert called == []
    assert await service.find(run_id) == cancelled
    assert await database.fetchval("SELECT count(*) FROM outbox") == 0
