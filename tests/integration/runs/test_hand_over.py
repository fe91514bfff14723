"""Steps that last longer than a local activity: who goes on with them, and who stops.

Two workers in this process, which Temporal takes for two. The first has one slot for activities
that are not local; a run may hold it, so that what comes after it waits to be taken over.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client
from tests.support.runs_service import RunsService
from tests.support.runs_worker import COPY, RunsWorker, steps_of
from tests.support.waiting import wait_until

from runs.api.launcher import Launcher
from runs.domain.plan import workflow_id
from runs.domain.runs import RunStatus
from runs.temporal.client import data_converter
from runs.worker.activities import walk
from runs.worker.activities.admission import WorkerSlots
from runs.worker.temporal_worker import make_worker

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import asyncpg
    import grpc

    from dataplane.tenants import ManagementPool, TenantPools
    from jsonvalues import JsonValue
    from nagaya_local.parts.temporal import TemporalServer
    from servicekit.identity import Principal

FIRST, SECOND = "first", "second"


@dataclass
class Calls:
    """What the workers' function was called for, and what it was told."""

    noted: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    """Run, worker, and `began`, `ended` or `cancelled`."""
    may_end: dict[str, asyncio.Event] = field(default_factory=dict[str, asyncio.Event])

    def of(self, run_id: str) -> list[tuple[str, str]]:
        return [(worker, word) for run, worker, word in self.noted if run == run_id]

    async def last(self, worker: RunsWorker, name: str) -> JsonValue:
        """Last until it may end."""
        assert worker.context is not None
        run_id = worker.context.run_id
        self.noted.append((run_id, name, "began"))
        try:
            await self.may_end.setdefault(run_id, asyncio.Event()).wait()
        except asyncio.CancelledError:
            self.noted.append((run_id, name, "cancelled"))
            raise
        self.noted.append((run_id, name, "ended"))
        return None

    def let_end(self, run_id: str) -> None:
        self.may_end.setdefault(run_id, asyncio.Event()).set()

    async def wait_for(self, run_id: str, worker: str, word: str, seconds: float = 60.0) -> None:
        async def noted() -> bool:
            return (worker, word) in self.of(run_id)

        await wait_until(noted, seconds=seconds)


class Workers:
    """Two workers of one task queue."""

    def __init__(
        self,
        address: str,
        tenants: TenantPools,
        management: ManagementPool,
        peers: grpc.aio.Channel,
    ) -> None:
        self.calls = Calls()
        self._address = address
        self._queue = f"handed-over-{secrets.token_hex(4)}"
        self._parts = (tenants, management, peers)

    @asynccontextmanager
    async def working(self, name: str, slots: int) -> AsyncGenerator[RunsWorker]:
        """Run a worker for the block that does so many activities at once that are not local."""
        tenants, management, peers = self._parts
        self.client = await Client.connect(
            self._address, identity=name, data_converter=data_converter()
        )
        service = RunsService(tenants, management, Launcher(self.client, self._queue), peers)
        worker = RunsWorker(service, peers)
        worker.does = partial(self.calls.last, worker, name)
        activities = worker.activities.all
        async with make_worker(self.client, self._queue, activities, WorkerSlots(slots, 75)):
            yield worker

    async def scheduled(self, run_id: str) -> int:
        """Return how many activities that are not local a run has asked for."""
        handle = self.client.get_workflow_handle(workflow_id("acme", run_id))
        history = await handle.fetch_history()
        kind = EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
        return sum(event.event_type == kind for event in history.events)

    async def wait_until_handed_over(self, run_id: str) -> None:
        async def handed_over() -> bool:
            return await self.scheduled(run_id) > 0

        await wait_until(handed_over)


@pytest.fixture
def workers(
    temporal: TemporalServer,
    tenants: TenantPools,
    management: ManagementPool,
    peers: grpc.aio.Channel,
    ada: Principal,
) -> Workers:
    return Workers(temporal.address, tenants, management, peers)


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let local activities last half a second."""
    monkeypatch.setattr(walk, "_LOCAL_SECONDS", 0.5)


async def held(workers: Workers, first: RunsWorker) -> tuple[str, str]:
    """Return a run that holds the first worker's slot, and one that waits to be taken over."""
    holding = (await first.create(COPY)).run_id
    await workers.wait_until_handed_over(holding)
    waiting = (await first.service.run()).run_id
    await workers.wait_until_handed_over(waiting)
    return holding, waiting


async def ended(worker: RunsWorker, run_id: str) -> RunStatus:
    async def status() -> RunStatus | None:
        found = (await worker.service.find(run_id)).status
        described = await worker.service.launcher.describe("acme", run_id)
        over = described is not None and described.status != "running"
        return found if found.final and over else None

    return await wait_until(status)


@pytest.mark.usefixtures("brief")
async def test_what_ends_before_anybody_takes_it_over_is_not_done_again(
    workers: Workers, database: asyncpg.Connection
) -> None:
    async with workers.working(FIRST, 1) as first:
        holding, waiting = await held(workers, first)
        workers.calls.let_end(waiting)
        await workers.calls.wait_for(waiting, FIRST, "ended")
        workers.calls.let_end(holding)
        assert await ended(first, waiting) is await ended(first, holding) is RunStatus.COMPLETED

    for run_id in (holding, waiting):
        assert workers.calls.of(run_id) == [(FIRST, "began"), (FIRST, "ended")]
    assert await steps_of(database) == [("completed", 0)] * 2


@pytest.mark.usefixtures("brief")
async def test_a_function_that_another_worker_takes_over_is_stopped_before_it_begins_there(
    workers: Workers, database: asyncpg.Connection
) -> None:
    async with workers.working(FIRST, 1) as first:
        holding, waiting = await held(workers, first)
        async with workers.working(SECOND, 4):
            await workers.calls.wait_for(waiting, SECOND, "began")
            workers.calls.let_end(waiting)
            assert await ended(first, waiting) is RunStatus.COMPLETED
            workers.calls.let_end(holding)
            assert await ended(first, holding) is RunStatus.COMPLETED

    assert workers.calls.of(waiting) == [
        (FIRST, "began"),
        (FIRST, "cancelled"),
        (SECOND, "began"),
        (SECOND, "ended"),
    ]
    assert await steps_of(database) == [("completed", 0)] * 2  # by the attempt that had begun


@pytest.mark.usefixtures("brief")
async def test_a_cancelled_run_stops_what_nobody_has_taken_over(workers: Workers) -> None:
    async with workers.working(FIRST, 1) as first:
        holding, waiting = await held(workers, first)
        await first.service.steering.cancel("acme", waiting)
        await workers.calls.wait_for(waiting, FIRST, "cancelled", seconds=9)
        assert await ended(first, waiting) is RunStatus.CANCELLED
        workers.calls.let_end(holding)
        await ended(first, holding)


async def test_a_cancelled_run_stops_its_chain_before_that_is_handed_over(
    workers: Workers, database: asyncpg.Connection
) -> None:
    second = {**COPY, "step": "then", "needs": ["copy"]}
    async with workers.working(FIRST, 4) as first:
        run_id = (await first.create(COPY, second)).run_id
        await workers.calls.wait_for(run_id, FIRST, "began")
        await first.service.steering.cancel("acme", run_id)
        assert await ended(first, run_id) is RunStatus.CANCELLED
        assert await workers.scheduled(run_id) == 0

    assert workers.calls.of(run_id) == [(FIRST, "began"), (FIRST, "cancelled")]
    assert await steps_of(database) == [("cancelled", 0)]


@pytest.mark.usefixtures("brief")
async def test_a_cancelled_run_stops_its_chain_once_that_is_handed_over(workers: Workers) -> None:
    async with workers.working(FIRST, 4) as first:
        run_id = (await first.create(COPY)).run_id
        await workers.wait_until_handed_over(run_id)
        await first.service.steering.cancel("acme", run_id)
        await workers.calls.wait_for(run_id, FIRST, "cancelled", seconds=9)
        assert await ended(first, run_id) is RunStatus.CANCELLED


@pytest.mark.usefixtures("brief")
async def test_a_run_that_is_to_pause_ends_what_was_handed_over(
    workers: Workers, database: asyncpg.Connection
) -> None:
    second = {**COPY, "step": "then", "needs": ["copy"]}
    async with workers.working(FIRST, 4) as first:
        run_id = (await first.create(COPY, second)).run_id
        await workers.wait_until_handed_over(run_id)
        await first.service.steering.pause("acme", run_id)
        await asyncio.sleep(1.5)  # it is asked to stop in the meantime, and does not
        assert workers.calls.of(run_id) == [(FIRST, "began")]
        workers.calls.let_end(run_id)

        async def paused() -> bool:
            return (await first.service.find(run_id)).status is RunStatus.PAUSED

        await wait_until(paused)

    assert workers.calls.of(run_id) == [(FIRST, "began"), (FIRST, "ended")]
    assert await steps_of(database) == [("completed", 0)]
