"""Rows of runs that wait for their turn: those of earlier builds, and what finding them reads."""

from __future__ import annotations

import asyncio
import json
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from tests.integration.runs.queued_runs import (
    ask,
    complete,
    complete_input,
    create,
    fail,
    queued,
    relay,
)
from tests.support.waiting import wait_until

import runs
from runs.domain.activities import RunRef, StepRef
from runs.domain.runs import Retry, RunStatus
from runs.domain.tenant_limits import TenantLimits
from runs.domain.transitions import Transitions
from runs.store import queued_runs

if TYPE_CHECKING:
    import asyncpg
    from tests.support.runs_service import RunsService

MIGRATIONS = Path(runs.__file__).parent / "migrations"


async def task_queues(database: asyncpg.Connection) -> dict[str, str]:
    """Return the task queue of each run."""
    found = await database.fetch("SELECT id::text AS run_id, task_queue FROM runs")
    return {row["run_id"]: row["task_queue"] for row in found}


async def test_a_run_of_an_earlier_build_waits_on_its_pipelines_task_queue(
    service: RunsService, database: asyncpg.Connection
) -> None:
    service.limits = TenantLimits(max_runs=1)
    await service.pipeline()
    failed, paused, running = await create(service, 3)
    await fail(service, failed)
    await service.steering.pause("acme", paused)
    await database.execute(
        "UPDATE pipelines SET code_needs = jsonb_set(code_needs, '{task_queue}', '\"own\"')"
    )
    # as they were before these columns
    await database.execute("ALTER TABLE runs DROP COLUMN queued, DROP COLUMN task_queue")
    for number in ("0016", "0017", "0019"):
        (path,) = MIGRATIONS.glob(f"{number}_*.sql")
        for statement in path.read_text().split(";\n"):
            if statement:
                await database.execute(statement)
    before = {failed: "", paused: "own", running: "own"}
    assert await task_queues(database) == before

    await service.steering.retry("acme", failed, Retry(secrets.token_hex(8)))
    await service.steering.resume("acme", paused)
    assert await queued(service, [failed, paused, running]) == [failed, paused]
    assert await task_queues(database) == before | {failed: "own"}


async def test_a_long_queue_is_not_read_to_find_whose_turn_it_is(
    service: RunsService, database: asyncpg.Connection
) -> None:
    await database.execute(
        """
        INSERT INTO runs (status, pipeline, pipeline_version, user_id, request_id, request_digest,
                          queued, held, task_queue)
        SELECT 'pending', 'article', 1, 'ada', n::text, '', n < 4000, n > 4500,
               CASE WHEN n % 100 = 0 THEN 'own' ELSE '' END
          FROM generate_series(1, 5000) AS n
        """
    )
    await database.execute("ANALYZE runs")

    async with service.tenants.transaction("acme") as connection:
        assert await queued_runs.find_task_queues(connection) == ("", "own")
        for sql, index in (
            (queued_runs._TASK_QUEUES, "runs_queued"),
            (queued_runs._ADMIT, "runs_queued"),
            (queued_runs._ADMIT, "runs_working"),
            (queued_runs._DEMAND, "runs_working"),
            (queued_runs._MARK, "runs_working"),
        ):
            values = ("own", 1) if "$1" in sql else ()
            plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {sql}", *values))
            assert index in plan, plan
            assert "Seq Scan on runs" not in plan, plan
            assert sql != queued_runs._ADMIT or "(run_id = working.id) AND (item = 0)" in plan, plan
        assert await queued_runs.find_demand(connection) == {"": 495 + 1000, "own": 6 + 39}


async def test_runs_that_wait_for_people_are_not_read_to_count_those_under_way(
    service: RunsService, database: asyncpg.Connection
) -> None:
    await database.execute(
        """
        WITH asking AS (
            INSERT INTO runs (status, pipeline, pipeline_version, user_id, request_id,
                              request_digest)
            SELECT 'running', 'article', 1, 'ada', n::text, '' FROM generate_series(1, 2500) AS n
            RETURNING id
        )
        INSERT INTO approvals (approval_id, run_id, step, visit, attempt, question, subjects,
                               user_ids, permissions, excludes_creator, comment_required)
        SELECT id::text, id, 'ask', 1, 1, 'Sure?', '[]', '{}', '{}', false, false FROM asking
        """
    )
    await database.execute("ANALYZE runs")

    async def read() -> float:
        """Return how many runs are read to find whether another one has to wait."""
        sql = f"WITH {queued_runs.turn('$1', '$2')} SELECT waits FROM turn"
        async with service.tenants.connection("acme") as connection:
            explained = f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}"
            return _rows_read(json.loads(await connection.fetchval(explained, "", 10))[0]["Plan"])

    assert await read() >= 2500
    async with service.tenants.connection("acme") as connection:
        for _ in range(3):
            await queued_runs.mark_in_question(connection)
        assert await queued_runs.find_demand(connection) == {}
    assert await read() == 0


def _rows_read(plan: dict[str, Any]) -> float:
    """Return how many rows of `runs` a plan has read."""
    read = 0.0
    if plan.get("Relation Name") == "runs":
        rows = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
        read += rows * plan["Actual Loops"]
    return read + sum(map(_rows_read, plan.get("Plans", ())))


async def test_a_run_that_waited_for_a_person_counts_again_once_it_moves(
    service: RunsService, database: asyncpg.Connection
) -> None:
    service.limits = TenantLimits(max_runs=1)
    await service.pipeline()
    (in_question,) = await create(service, 1)
    await complete_input(service, in_question)
    await ask(database, in_question)
    async with service.tenants.connection("acme") as connection:
        await queued_runs.mark_in_question(connection)
    (other,) = await create(service, 1)
    assert await queued(service, [other]) == []
    await complete(service, other)

    begun = Transitions(begun=(StepRef("acme", in_question, 1, "copy"),))
    await service.journal.advance(RunRef("acme", in_question, 1), begun)

    async with service.tenants.connection("acme") as connection:
        await queued_runs.mark_in_question(connection)
        assert await queued_runs.find_demand(connection) == {"": 1}
    last = await create(service, 1)
    assert await queued(service, last) == last


async def test_a_run_that_moves_while_it_is_marked_counts(
    service: RunsService, database: asyncpg.Connection
) -> None:
    await service.pipeline()
    (moves,) = await create(service, 1)
    await complete_input(service, moves)
    await ask(database, moves)
    held_up = "AND (SELECT true FROM pg_advisory_xact_lock(7))\n     LIMIT 1000"
    assert queued_runs._MARK.count("LIMIT 1000") == 1

    async def mark() -> None:
        async with service.tenants.connection("acme") as connection:
            await connection.execute(queued_runs._MARK.replace("LIMIT 1000", held_up))

    async def is_read() -> bool:
        waiting = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"
        return await database.fetchval(waiting)

    await database.execute("SELECT pg_advisory_lock(7)")
    marking = asyncio.create_task(mark())
    await wait_until(is_read)
    begun = Transitions(begun=(StepRef("acme", moves, 1, "copy"),))
    await service.journal.advance(RunRef("acme", moves, 1), begun)
    await database.execute("SELECT pg_advisory_unlock(7)")
    await marking

    async with service.tenants.connection("acme") as connection:
        assert await queued_runs.find_demand(connection) == {"": 1}


async def test_an_earlier_builds_reconciler_does_not_start_a_run_that_waits(
    service: RunsService, database: asyncpg.Connection
) -> None:
    service.limits = TenantLimits(max_runs=1)
    await service.pipeline()
    running, waiting = await create(service, 2)
    to_check = """
        SELECT array_agg(id::text) FROM runs
         WHERE status IN ('pending', 'running') AND NOT held
           AND greatest(updated_at, checked_at) < now() + interval '1 hour'
    """
    assert await database.fetchval(to_check) == [running]

    await complete(service, running)
    await relay(service).deliver("acme")
    assert await database.fetchval(to_check) == [waiting]


async def test_a_run_that_an_earlier_build_started_does_not_wait_any_more(
    service: RunsService, database: asyncpg.Connection
) -> None:
    service.limits = TenantLimits(max_runs=1)
    await service.pipeline()
    _, waiting = await create(service, 2)

    await complete_input(service, waiting)

    run = await service.find(waiting)
    assert (run.status, run.queued) == (RunStatus.RUNNING, False)
    events = "SELECT payload -> 'queued' FROM run_events WHERE run_id = $1 ORDER BY seq"
    assert [row[0] for row in await database.fetch(events, UUID(waiting))] == ["true", "false"]
    checked = "SELECT checked_at FROM runs WHERE id = $1"
    assert await database.fetchval(checked, UUID(waiting)) is None
