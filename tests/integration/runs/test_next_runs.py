"""Runs that wait start as others end, by the worker that ends these, without a relay."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING

import pytest
from tests.integration.runs.queued_runs import complete, create, fail, queued, relay, started
from tests.integration.runs.steered_runs import SteeredRuns, step
from tests.support.waiting import wait_until

from runs.domain.runs import RunStatus
from runs.domain.tenant_limits import TenantLimits
from runs.worker.activities import next_runs
from runs.worker.activities.next_runs import NextRuns

if TYPE_CHECKING:
    import asyncpg
    from tests.support.runs_service import RunsService

    from runs.domain.plan import RunStart
    from runs.temporal.run_starter import RunStarter

ONE = TenantLimits(max_runs=1)


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a worker on a busy machine take its time: no relay starts what it leaves."""
    monkeypatch.setattr(next_runs, "_SECONDS", 60.0)


async def start_next(
    service: RunsService,
    starter: RunStarter | None = None,
    limits: TenantLimits | None = None,
    *,
    known: bool = True,
) -> None:
    """Have the runs that wait started, and wait for it."""
    starts = NextRuns(
        service.tenants,
        starter or service.launcher,
        lambda _: limits or service.limits,
        lambda: known,
    )
    starts.start("acme")
    await starts.stop()


async def test_each_run_that_completes_makes_room_for_the_next_one(
    steered: SteeredRuns, database: asyncpg.Connection
) -> None:
    service = steered.service
    service.limits = TenantLimits(max_runs=2)
    await service.pipeline(step("a"))
    steered.waiting = {"a"}
    created = await create(service, 9)
    assert await queued(service, created) == created[2:]
    steered.may_end.set()

    for run_id in created:
        await steered.reached(run_id, RunStatus.COMPLETED)

    async def nothing_left() -> bool:
        return not await database.fetchval("SELECT count(*) FROM outbox")

    await wait_until(nothing_left)


@pytest.mark.parametrize("end", [RunStatus.FAILED, RunStatus.PAUSED, RunStatus.CANCELLED])
async def test_a_run_that_ends_otherwise_or_is_paused_makes_room_too(
    steered: SteeredRuns, end: RunStatus
) -> None:
    service = steered.service
    service.limits = ONE
    await service.pipeline(step("a"), step("b", "a"))
    steered.waiting = {"a"}
    first, second = await create(service, 2)
    await steered.began("a")
    assert await queued(service, [second]) == [second]

    if end is RunStatus.FAILED:
        steered.failing = {("a", 0)}
    elif end is RunStatus.PAUSED:
        await service.steering.pause("acme", first)
    else:
        await service.steering.cancel("acme", first)
        await steered.reached(first, end)
    steered.may_end.set()

    await steered.reached(first, end)
    await steered.began("a", times=2)
    await steered.reached(second, RunStatus.COMPLETED, RunStatus.FAILED)


async def test_what_a_worker_could_not_start_a_relay_starts(
    service: RunsService,
    database: asyncpg.Connection,
    unreachable_launcher: RunStarter,
) -> None:
    service.limits = ONE
    await service.pipeline()
    first, second = await create(service, 2)
    await fail(service, first)

    await start_next(service, unreachable_launcher)

    assert await queued(service, [second]) == []
    assert await started(service, [second]) == []
    await database.execute("UPDATE outbox SET due_at = now()")
    await relay(service).deliver("acme")
    assert await started(service, [second]) == [second]


async def test_runs_that_start_at_a_limited_rate_are_left_to_relays(
    service: RunsService,
) -> None:
    service.limits = ONE
    await service.pipeline()
    first, second = await create(service, 2)
    await fail(service, first)
    limited = TenantLimits(max_runs=1, starts_per_minute=60)

    await start_next(service, limits=limited)
    assert await queued(service, [second]) == [second]

    await start_next(service)
    assert await started(service, [second]) == [second]
    assert await relay(service).deliver("acme") is None


async def test_runs_are_left_to_relays_until_limits_are_known(service: RunsService) -> None:
    service.limits = ONE
    await service.pipeline()
    first, second = await create(service, 2)
    await fail(service, first)

    await start_next(service, limits=TenantLimits(), known=False)

    assert await queued(service, [second]) == [second]


async def test_a_run_that_ends_waits_for_no_start_and_the_next_one_is_not_of_its_trace(
    service: RunsService,
) -> None:
    service.limits = ONE
    await service.pipeline()
    first, *others = await create(service, 3)
    trace = ContextVar("trace", default="")
    began, may_start = asyncio.Event(), asyncio.Event()
    starts: list[tuple[str, str]] = []

    class Slow:
        async def start(self, start: RunStart, _task_queue: str) -> None:
            starts.append((start.run_id, trace.get()))
            began.set()
            await may_start.wait()

    next_runs = NextRuns(service.tenants, Slow(), service.limits_of, lambda: True)  # pyright: ignore[reportArgumentType]
    service.journal.start_next = next_runs.start
    trace.set("of the first")
    async with asyncio.timeout(20):
        await complete(service, first)
        await began.wait()
        await complete(service, others[0])  # while its start is under way
    assert starts == [(others[0], "")]

    may_start.set()
    await next_runs.stop()
    assert starts == [(run_id, "") for run_id in others]
