"""The tables against the specification, column by column, and what their constraints refuse."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg
import pytest
from tests.support.runs_service import INPUT_FILE

from runs.domain.activities import RunRef
from runs.domain.runs import Failure, RunStatus
from runs.domain.transitions import Transitions
from runs.store import journal, run_transitions
from runs.store import runs as run_store

if TYPE_CHECKING:
    from tests.support.runs_service import RunsService

    from runs.domain.runs import Run

# As the specification lists them: type, whether NULL is refused, default.
SPECIFIED = {
    "runs": {
        "id": ("uuid", True, "gen_random_uuid()"),
        "status": ("text", True, None),
        "current_step": ("text", False, None),
        "config": ("jsonb", False, None),
        "created_at": ("timestamp with time zone", True, "now()"),
        "updated_at": ("timestamp with time zone", True, "now()"),
    },
    "steps": {
        "id": ("bigint", True, None),
        "run_id": ("uuid", True, None),
        "step": ("text", True, None),
        "status": ("text", True, None),
        "llm_model": ("text", False, None),
        "token_usage": ("jsonb", False, None),
        "error_message": ("text", False, None),
        "retry_count": ("integer", True, "0"),
        "started_at": ("timestamp with time zone", False, None),
        "completed_at": ("timestamp with time zone", False, None),
        "item": ("integer", True, "0"),
        "visit": ("integer", True, "1"),
    },
    "prompts": {
        "id": ("bigint", True, None),
        "step": ("text", True, None),
        "version": ("integer", True, None),
        "content": ("text", True, None),
        "variables": ("jsonb", True, "'[]'::jsonb"),
        "is_active": ("boolean", True, "true"),
    },
}
CONSTRAINTS = {
    "runs": {
        "PRIMARY KEY (id)",
        "UNIQUE (request_id)",
        "CHECK ((status = ANY (ARRAY['pending'::text, 'running'::text, 'paused'::text, "
        "'completed'::text, 'failed'::text, 'cancelled'::text])))",
    },
    "steps": {
        "PRIMARY KEY (id)",
        "FOREIGN KEY (run_id) REFERENCES runs(id)",
        "UNIQUE (run_id, step, item, visit)",
    },
    "prompts": {"PRIMARY KEY (id)", "UNIQUE (step, version)", "UNIQUE (request_id)"},
}


@pytest.mark.parametrize("table", SPECIFIED)
async def test_a_table_has_the_columns_of_the_specification(
    database: asyncpg.Connection, table: str
) -> None:
    rows = await database.fetch(
        """
        SELECT attname, format_type(atttypid, atttypmod) AS type, attnotnull,
               pg_get_expr(adbin, adrelid) AS default
          FROM pg_attribute
          LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
         WHERE attrelid = $1::text::regclass AND attnum > 0
        """,
        table,
    )
    found = {row["attname"]: (row["type"], row["attnotnull"], row["default"]) for row in rows}

    assert {name: found.get(name) for name in SPECIFIED[table]} == SPECIFIED[table]


@pytest.mark.parametrize("table", CONSTRAINTS)
async def test_a_table_has_the_constraints_of_the_specification(
    database: asyncpg.Connection, table: str
) -> None:
    rows = await database.fetch(
        """
        SELECT pg_get_constraintdef(oid) AS it
          FROM pg_constraint
         WHERE conrelid = $1::text::regclass
        """,
        table,
    )

    assert {row["it"] for row in rows} >= CONSTRAINTS[table]


async def test_no_index_holds_what_changes_with_every_event(database: asyncpg.Connection) -> None:
    rows = await database.fetch(
        "SELECT pg_get_indexdef(indexrelid) AS it FROM pg_index WHERE indrelid = 'runs'::regclass"
    )

    moving = ("last_seq", "updated_at", "current_step", "_tokens", "completed_steps", "cost_")
    # PostgreSQL does not count BRIN indexes when it decides whether to update beside all indexes.
    counted = [row["it"] for row in rows if "USING brin" not in row["it"]]
    assert not [index for index in counted if any(name in index for name in moving)]


async def test_the_migrations_of_other_services_may_refer_to_runs(
    database: asyncpg.Connection,
) -> None:
    for service in ("artifacts", "llm_gateway"):
        role = await database.fetchval("SELECT current_database() || $1", f"_{service}_mig")
        assert await database.fetchval("SELECT has_table_privilege($1, 'runs', 'REFERENCES')", role)


async def test_the_service_owns_nothing_and_reads_no_audit_log(service: RunsService) -> None:
    async with service.tenants.connection("acme") as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("SELECT * FROM audit_logs")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("ALTER TABLE runs ADD COLUMN x INT")


@pytest.fixture
async def run(service: RunsService) -> Run:
    await service.pipeline()
    return await service.run()


async def test_a_run_begins_once(
    service: RunsService, run: Run, database: asyncpg.Connection
) -> None:
    async def begin(epoch: int = 1) -> RunStatus | None:
        async with service.tenants.transaction("acme") as connection:
            ref = RunRef("acme", run.run_id, epoch)
            (advanced,) = await journal.advance(connection, ref, [Transitions(input=INPUT_FILE)])
            return advanced.run_status

    statuses = await asyncio.gather(*(begin() for _ in range(5)))
    assert statuses == [RunStatus.RUNNING] * 5
    assert await begin(epoch=2) is None
    assert await database.fetchval("SELECT last_seq FROM runs") == 2
    assert await database.fetchval("SELECT count(*) FROM outbox") == 0


async def test_a_run_has_one_end(service: RunsService, run: Run) -> None:
    async def finish(epoch: int, status: RunStatus, error: Failure | None = None) -> Run | None:
        async with service.tenants.transaction("acme") as connection:
            return await run_transitions.finish(connection, run.run_id, epoch, status, error)

    assert await finish(2, RunStatus.COMPLETED) is None
    error = Failure("PROVIDER_REFUSED", "the provider refused", "copy", "storage/acme/x")
    failed = await finish(1, RunStatus.FAILED, error)
    assert failed is not None
    assert (failed.status, failed.error) == (RunStatus.FAILED, error)
    assert await finish(1, RunStatus.COMPLETED) is None


async def test_a_run_that_was_cancelled_does_not_begin(service: RunsService, run: Run) -> None:
    await service.steering.cancel("acme", run.run_id)

    ref = RunRef("acme", run.run_id, 1)
    begun = await service.journal.advance(ref, Transitions(input=INPUT_FILE))
    assert begun.run_status is RunStatus.CANCELLED


async def test_the_steps_of_a_cancelled_run_end_with_it(
    service: RunsService, run: Run, database: asyncpg.Connection
) -> None:
    await service.begin(run.run_id)
    async with service.tenants.transaction("acme") as connection:
        for item, status in ((1, "completed"), (2, "running"), (3, "running")):
            row_id = await connection.fetchval(
                """
                INSERT INTO steps (run_id, step, item, status) VALUES ($1, 'copy', $2, $3)
                RETURNING id
                """,
                UUID(run.run_id),
                item,
                status,
            )
            await connection.execute(
                "INSERT INTO step_attempts (step_id, epoch, attempt, status) VALUES ($1, 1, 1, $2)",
                row_id,
                status,
            )
        await run_transitions.finish(connection, run.run_id, 1, RunStatus.CANCELLED)

    rows = await database.fetch("SELECT status FROM steps ORDER BY item")
    assert [row["status"] for row in rows] == ["completed", "cancelled", "cancelled"]
    rows = await database.fetch("SELECT status FROM step_attempts ORDER BY step_id")
    assert [row["status"] for row in rows] == ["completed", "cancelled", "cancelled"]
    rows = await database.fetch(
        "SELECT seq, kind, payload -> 'item' AS item FROM run_events ORDER BY seq"
    )
    assert [tuple(row) for row in rows] == [
        (1, "run", None),
        (2, "run", None),
        (3, "step", "2"),
        (4, "step", "3"),
        (5, "run", None),
    ]


async def test_what_a_run_is_done_with_is_read_as_it_was_given(service: RunsService) -> None:
    await service.pipeline()
    run = await service.run(inline={"topic": "cranes"})
    await service.begin(run.run_id)
    async with service.tenants.connection("acme") as connection:
        setup = await run_store.find_parameters(connection, run.run_id)
        assert await run_store.find_parameters(connection, str(UUID(int=0))) is None

    assert setup is not None
    assert (setup.status, setup.epoch, setup.user_id) == (RunStatus.RUNNING, 1, "ada")
    assert setup.input_file == INPUT_FILE
