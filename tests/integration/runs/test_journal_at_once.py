"""Transitions of many steps of one run, at the same time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from tests.support.runs_service import INPUT_FILE, RunsService

from dataplane.databases import Databases
from dataplane.tenants import TenantPools
from runs.domain.activities import StepRef
from runs.domain.generation import CallUsage, TokenUsage
from runs.domain.runs import RunStatus
from runs.domain.transitions import StepOutcome, Transitions
from runs.store import journal, open_runs, run_transitions
from runs.store import runs as run_store
from runs.worker.activities.journal import Journal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    import asyncpg
    from tests.support.databases import TenantDatabases

    from dataplane.pools import Connection
    from dataplane.tenants import ManagementPool
    from runs.api.launcher import Launcher
    from servicekit.identity import Principal

Workers = tuple[TenantPools, TenantPools]

USAGE = CallUsage("openai/gpt-5", "rule", TokenUsage(5, 7, 0, 0, 0), 11)
DONE, PAID = StepOutcome(INPUT_FILE), StepOutcome(INPUT_FILE, USAGE)


async def test_steps_that_end_at_once_leave_numbers_without_a_gap(
    service: RunsService, database: asyncpg.Connection
) -> None:
    work = await running(service)
    one, another = (Journal(service.tenants) for _ in range(2))

    async def long(item: int) -> None:
        piece, worker = replace(work, item=item), (one, another)[item % 2]
        attempt = await worker.begin(piece)
        assert attempt is not None
        assert await worker.complete(piece, attempt, PAID)

    async def short(item: int) -> None:
        assert await (one, another)[item % 2].complete_at_once(replace(work, item=item), DONE)

    await asyncio.gather(*map(long, range(1, 26)), *map(short, range(26, 51)))

    numbers = await database.fetch("SELECT seq FROM run_events ORDER BY seq")
    assert [row["seq"] for row in numbers] == list(range(1, 2 + 50 + 25 + 1))
    totals = await database.fetchrow(
        "SELECT completed_steps, input_tokens, output_tokens, cost_micro_usd FROM runs"
    )
    assert tuple(totals or ()) == (50, 125, 175, 275)


async def test_moves_that_wait_for_one_another_are_one_statement(
    service: RunsService, database: asyncpg.Connection
) -> None:
    work = await running(service)
    pieces = [replace(work, item=item) for item in range(1, 151)]
    attempts = await asyncio.gather(*map(service.journal.begin, pieces))

    assert [attempt.attempt for attempt in attempts if attempt is not None] == [1] * 150
    statements = "SELECT count(DISTINCT xmin::text) FROM run_events WHERE kind = 'step'"
    assert await database.fetchval(statements) == 1


async def test_transitions_of_one_run_never_deadlock_however_many_workers_make_them(
    unstarted: RunsService, workers: Workers, database: asyncpg.Connection, postgres_log: Path
) -> None:
    work = await running(unstarted)
    deadlocks = count_deadlocks(postgres_log)

    async def piece(item: int) -> None:
        part, tenants = replace(work, item=item), workers[item % 2]
        async with tenants.connection("acme") as connection:
            (begun,) = await journal.advance(connection, work.run, [Transitions(begun=(part,))])
        (attempt,) = begun.begun
        assert attempt is not None
        async with tenants.transaction("acme") as connection:
            await share(connection, work.run_id)
        async with tenants.connection("acme") as connection:
            ended = Transitions(ended=((part, attempt, DONE),))
            (done,) = await journal.advance(connection, work.run, [ended])
            assert done.ended == (True,)

    await asyncio.gather(*map(piece, range(1, 251)))

    assert count_deadlocks(postgres_log) == deadlocks
    assert await database.fetchval("SELECT completed_steps FROM runs") == 250


async def test_a_run_that_ends_amid_its_steps_ends_without_a_deadlock(
    unstarted: RunsService, workers: Workers, database: asyncpg.Connection, postgres_log: Path
) -> None:
    work = await running(unstarted)
    deadlocks = count_deadlocks(postgres_log)

    async def begin(item: int) -> None:
        tenants = workers[item % 2]
        async with tenants.transaction("acme") as connection:
            await share(connection, work.run_id)
        async with tenants.connection("acme") as connection:
            transitions = Transitions(begun=(replace(work, item=item),))
            await journal.advance(connection, work.run, [transitions])

    async def note(number: int) -> None:
        async with workers[number % 2].connection("acme") as connection:
            await open_runs.note_stuck(connection, [work.run_id], str(number % 2))

    async def cancel() -> None:
        async with workers[0].transaction("acme") as connection:
            assert await run_store.lock(connection, work.run_id) is not None
            await share(connection, work.run_id)
            cancelled = RunStatus.CANCELLED
            assert await run_transitions.finish(connection, work.run_id, 1, cancelled)

    begun = [asyncio.create_task(begin(item)) for item in range(1, 301)]
    noted = [asyncio.create_task(note(number)) for number in range(50)]
    await asyncio.gather(*begun[:40])
    await asyncio.gather(cancel(), *begun, *noted)

    assert count_deadlocks(postgres_log) == deadlocks
    statuses = await database.fetch("SELECT DISTINCT status FROM steps")
    assert [row["status"] for row in statuses] == ["cancelled"]
    numbers = await database.fetch("SELECT seq FROM run_events ORDER BY seq")
    assert [row["seq"] for row in numbers] == list(range(1, len(numbers) + 1))


async def running(service: RunsService) -> StepRef:
    await service.pipeline()
    run = await service.run()
    await service.begin(run.run_id)
    return StepRef("acme", run.run_id, 1, "copy")


async def share(connection: Connection, run_id: str) -> None:
    """Share the run's row for a while, as each file and each call does for its foreign key."""
    await connection.execute("SELECT FROM runs WHERE id = $1 FOR KEY SHARE", UUID(run_id))
    await connection.execute("SELECT pg_sleep(0.005)")


def count_deadlocks(log: Path) -> int:
    return log.read_text().count("deadlock detected")


@pytest.fixture
def unstarted(
    tenants: TenantPools, management: ManagementPool, unreachable_launcher: Launcher, ada: Principal
) -> RunsService:
    """The service without Temporal."""
    return RunsService(tenants, management, unreachable_launcher)


@pytest.fixture
async def workers(
    databases: Databases, tenant_databases: TenantDatabases
) -> AsyncGenerator[Workers]:
    """The connections of two processes."""
    others = Databases(tenant_databases.resolve, "runs", 30)
    yield TenantPools(databases), TenantPools(others)
    others.close()
    await others.settled()


@pytest.fixture
def postgres_log(parts_folder: Path) -> Path:
    return parts_folder / "postgres.log"
