from __future__ import annotations

import asyncio
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from temporalio import workflow
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import PollWorkflowTaskQueueRequest
from temporalio.worker import UnsandboxedWorkflowRunner, Worker
from tests.support.runs_service import make_due

from runs.api import stuck_reasons
from runs.api.launcher import Launcher
from runs.domain.plan import RunStart, workflow_id
from runs.domain.runs import RunStatus
from runs.temporal.client import connect
from runs.temporal.run_starter import WORKFLOW
from runs.temporal_config import TemporalConfig

if TYPE_CHECKING:
    import asyncpg
    from temporalio.client import Client
    from tests.support.runs_service import RunsService

    from dataplane.pending_work_poller import PendingWorkPoller
    from nagaya_local.parts.temporal import TemporalServer

AT_ONCE = timedelta(0)


@pytest.fixture
async def client(temporal: TemporalServer) -> Client:
    return await connect(TemporalConfig(temporal.address, "default", ""), lazy=False)


def reconciling(service: RunsService) -> PendingWorkPoller:
    return service.relay(service.launcher, AT_ONCE)


async def test_a_run_whose_workflow_was_terminated_fails_with_its_steps(
    service: RunsService, client: Client, database: asyncpg.Connection, registry: asyncpg.Connection
) -> None:
    await service.pipeline()
    run = await service.run()
    await service.begin(run.run_id)
    for item in (1, 2):
        await database.execute(
            "INSERT INTO steps (run_id, step, item, status) VALUES ($1, 'copy', $2, 'running')",
            UUID(run.run_id),
            item,
        )
    await client.get_workflow_handle(workflow_id("acme", run.run_id)).terminate()
    await make_due(database, registry)
    await reconciling(service).poll()

    ended = await service.find(run.run_id)
    assert ended.status is RunStatus.FAILED
    assert ended.error is not None
    assert ended.error.reason == "WORKFLOW_TERMINATED"
    events = await database.fetch(
        "SELECT seq, kind, payload ->> 'status' AS status FROM run_events ORDER BY seq"
    )
    assert [tuple(event) for event in events] == [
        (1, "run", "pending"),
        (2, "run", "running"),
        (3, "step", "cancelled"),
        (4, "step", "cancelled"),
        (5, "run", "failed"),
    ]
    assert ended.last_sequence == 5


async def test_a_running_run_whose_workflow_is_unknown_fails(
    service: RunsService,
    unreachable_launcher: Launcher,
    database: asyncpg.Connection,
    registry: asyncpg.Connection,
) -> None:
    await service.pipeline()
    run = await service.with_launcher(unreachable_launcher).run()
    await service.begin(run.run_id)
    await make_due(database, registry)
    await reconciling(service).poll()

    ended = await service.find(run.run_id)
    assert ended.error is not None
    assert (ended.status, ended.error.reason) == (RunStatus.FAILED, "WORKFLOW_LOST")


async def test_a_pending_run_whose_start_was_lost_is_started_again(
    service: RunsService,
    unreachable_launcher: Launcher,
    database: asyncpg.Connection,
    registry: asyncpg.Connection,
) -> None:
    await service.pipeline()
    run = await service.with_launcher(unreachable_launcher).run()
    await database.execute("DELETE FROM outbox")
    await make_due(database, registry)
    await reconciling(service).poll()
    await make_due(database, registry)
    await reconciling(service).poll()

    assert await service.launcher.describe("acme", run.run_id) is not None
    assert (await service.find(run.run_id)).status is RunStatus.PENDING


async def test_a_held_run_is_left_alone(
    service: RunsService, database: asyncpg.Connection, registry: asyncpg.Connection
) -> None:
    await service.pipeline()
    run = await service.run(hold=True)
    await make_due(database, registry)
    await reconciling(service).poll()

    assert (await service.find(run.run_id)).last_sequence == 1
    assert await service.launcher.describe("acme", run.run_id) is None


async def test_a_run_that_no_worker_takes_is_shown_as_stuck_until_it_moves(
    service: RunsService,
    database: asyncpg.Connection,
    registry: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stuck_reasons, "_WAITING", timedelta(0))
    await service.pipeline()
    run = await service.run()
    for _ in range(2):  # it is recorded once
        await make_due(database, registry)
        await reconciling(service).poll()

    stuck = await service.find(run.run_id)
    assert stuck.stuck_reason == "no worker takes the run's tasks: is a worker running?"
    assert stuck.last_sequence == 2

    await service.begin(run.run_id)
    assert (await service.find(run.run_id)).stuck_reason == ""


@workflow.defn(name=WORKFLOW)
class BrokenWorkflow:
    @workflow.run
    async def run(self, start: RunStart) -> None:
        raise ValueError("a defect")


async def test_a_run_whose_workflow_is_broken_is_shown_as_stuck(
    service: RunsService, client: Client, database: asyncpg.Connection, registry: asyncpg.Connection
) -> None:
    queue = f"broken-{secrets.token_hex(4)}"
    service = service.with_launcher(Launcher(client, queue))
    await service.pipeline()
    run = await service.run()
    worker = Worker(
        client,
        task_queue=queue,
        workflows=[BrokenWorkflow],
        workflow_runner=UnsandboxedWorkflowRunner(),
    )
    async with worker, asyncio.timeout(60):
        while not (await service.find(run.run_id)).stuck_reason:
            await make_due(database, registry)
            await reconciling(service).poll()

    assert (await service.find(run.run_id)).stuck_reason == (
        f"the workflow's code fails on worker {client.identity}: ValueError"
    )


async def test_a_run_whose_worker_does_not_answer_is_not_reported_as_broken(
    service: RunsService, client: Client, database: asyncpg.Connection, registry: asyncpg.Connection
) -> None:
    queue = f"stale-{secrets.token_hex(4)}"
    service = service.with_launcher(Launcher(client, queue))
    await service.pipeline()
    run = await service.run()
    await client.workflow_service.poll_workflow_task_queue(
        PollWorkflowTaskQueueRequest(namespace="default", task_queue=TaskQueue(name=queue))
    )
    async with asyncio.timeout(40):  # Temporal gives the task up after 10 s
        while not (await service.find(run.run_id)).stuck_reason:
            await make_due(database, registry)
            await reconciling(service).poll()

    assert (await service.find(run.run_id)).stuck_reason == (
        "the worker that had the run's tasks is gone or hangs, so they are given out again"
    )


async def test_a_stale_run_that_moves_is_left_as_it_is(
    service: RunsService, database: asyncpg.Connection, registry: asyncpg.Connection
) -> None:
    await service.pipeline()
    run = await service.run()
    await service.begin(run.run_id)
    await make_due(database, registry)
    await reconciling(service).poll()

    assert (await service.find(run.run_id)).last_sequence == 2
