"""Indexes that are built beside running writes, by files without a transaction."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg
from tests.integration.tenant.harness import RUNS, migration

from tenant.domain.passwords import scram_verifier
from tenant.domain.schema import Publication
from tenant.store import applied_migrations

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import pytest

    from nagaya_local.parts.postgres import PostgresServer
    from tenant.composition import Composition
    from tenant.domain.migrations import Migration
    from tenant.domain.tenants import Tenant

HEADER = "-- target: tenant\n-- transaction: none\n"
INDEX = migration("runs", 2, f"{HEADER}CREATE INDEX CONCURRENTLY runs_note ON runs (note);")
UNIQUE = migration("runs", 2, f"{HEADER}CREATE UNIQUE INDEX CONCURRENTLY runs_note ON runs (note);")
PASSWORD = "known to this test"


@asynccontextmanager
async def inside(postgres: PostgresServer, tenant: Tenant) -> AsyncGenerator[asyncpg.Connection]:
    """Open a tenant's database as superuser."""
    connection = await asyncpg.connect(postgres.superuser_url(tenant.database.name))
    yield connection
    await connection.close()


async def index(connection: asyncpg.Connection) -> tuple[int, bool, bool] | None:
    """Return the index's oid, whether it is valid and whether it is unique."""
    row = await connection.fetchrow(
        "SELECT indexrelid, indisvalid, indisunique FROM pg_index"
        " WHERE indexrelid = to_regclass('runs_note')"
    )
    return None if row is None else tuple(row)


async def records(connection: asyncpg.Connection) -> int:
    """Return how often the file is recorded as applied."""
    sql = "SELECT count(*) FROM schema_migrations WHERE service = 'runs' AND number = 2"
    return await connection.fetchval(sql)


async def test_an_index_is_built_while_rows_are_written(
    service: Composition, postgres: PostgresServer
) -> None:
    tenant = await service.tenants.create("acme", "r1", "Acme")
    async with inside(postgres, tenant) as writer, inside(postgres, tenant) as reader:
        transaction = writer.transaction()
        await transaction.start()
        await writer.execute("INSERT INTO runs (note) VALUES ('before')")
        publishing = asyncio.create_task(service.schema.publish("runs", [RUNS, INDEX]))
        while await index(reader) is None:
            await asyncio.wait((publishing,), timeout=0.02)
            assert not publishing.done()
        await writer.execute("INSERT INTO runs (note) VALUES ('meanwhile')")
        await transaction.commit()

        assert await publishing == Publication(1, 1, ())
        found = await index(reader)
        assert found is not None
        assert found[1]
        assert await records(reader) == 1


async def test_what_cannot_be_unique_leaves_no_index_and_is_made_after_repair(
    service: Composition, postgres: PostgresServer
) -> None:
    tenant = await service.tenants.create("acme", "r1", "Acme")
    async with inside(postgres, tenant) as connection:
        await connection.execute("INSERT INTO runs (note) VALUES ('twice'), ('twice')")

        assert await service.schema.publish("runs", [RUNS, UNIQUE]) == Publication(1, 0, ("acme",))
        assert await index(connection) is None
        assert await records(connection) == 0

        await connection.execute("DELETE FROM runs WHERE ctid = (SELECT min(ctid) FROM runs)")
        assert await service.schema.publish("runs", [RUNS, UNIQUE]) == Publication(0, 1, ())
        found = await index(connection)
        assert found is not None
        assert found[1:] == (True, True)
        assert await records(connection) == 1


async def test_an_invalid_index_is_dropped_and_made_again(
    service: Composition, postgres: PostgresServer
) -> None:
    tenant = await service.tenants.create("acme", "r1", "Acme")
    async with inside(postgres, tenant) as connection:
        await connection.execute("CREATE INDEX runs_note ON runs (note)")
        await connection.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'runs_note'::regclass"
        )
        left = await index(connection)

        await service.schema.publish("runs", [RUNS, INDEX])

        found = await index(connection)
        assert left is not None
        assert found is not None
        assert found[1]
        assert found[0] != left[0]


async def test_a_file_that_was_done_but_not_recorded_is_only_recorded(
    service: Composition, postgres: PostgresServer
) -> None:
    tenant = await service.tenants.create("acme", "r1", "Acme")
    async with inside(postgres, tenant) as connection:
        await connection.execute("CREATE INDEX runs_note ON runs (note)")
        made = await index(connection)

        await service.schema.publish("runs", [RUNS, INDEX])

        assert await index(connection) == made
        assert await records(connection) == 1


async def test_a_name_that_another_table_has_is_no_success(
    service: Composition, postgres: PostgresServer
) -> None:
    tenant = await service.tenants.create("acme", "r1", "Acme")
    async with inside(postgres, tenant) as connection:
        await connection.execute("CREATE TABLE other (i INT); CREATE INDEX runs_note ON other (i)")
        for sql in (INDEX.sql, INDEX.sql.replace("CONCURRENTLY", "CONCURRENTLY IF NOT EXISTS")):
            done = await service.schema.publish("runs", [RUNS, migration("runs", 2, sql)])
            assert done.behind_tenant_ids == ("acme",)
            assert await records(connection) == 0


async def test_a_session_that_a_killed_process_left_is_ended(
    service: Composition, postgres: PostgresServer
) -> None:
    tenant = await service.tenants.create("acme", "r1", "Acme")
    role = tenant.database.migration("runs")
    async with inside(postgres, tenant) as superuser:
        await superuser.execute(f"ALTER ROLE {role} LOGIN PASSWORD '{scram_verifier(PASSWORD)}'")
        left = await asyncpg.connect(
            host="127.0.0.1",
            port=postgres.port,
            user=role,
            password=PASSWORD,
            database=tenant.database.name,
        )
        await left.execute("BEGIN; LOCK TABLE runs")

        done = await service.schema.publish("runs", [RUNS, INDEX])

        assert done == Publication(1, 1, ())
        assert left.is_closed()


async def test_what_a_killed_process_has_committed_meanwhile_is_no_failure(
    service: Composition, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = await service.tenants.create("acme", "r1", "Acme")
    once = migration("runs", 2, "CREATE TABLE made_once (id INT)")
    apply = applied_migrations.apply

    async def second(connection: asyncpg.Connection, file: Migration) -> None:
        await apply(connection, file)  # what the killed process sent
        await apply(connection, file)

    monkeypatch.setattr(applied_migrations, "apply", second)
    done = await service.schema.publish("runs", [RUNS, once])

    assert done == Publication(1, 1, ())
    async with inside(postgres, tenant) as connection:
        assert await records(connection) == 1
