from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg
import pytest
from tests.integration.tenant.harness import started
from tests.support.tenant_rows import content, fill, publish_services

from tenant.domain.databases import new_tenant_database
from tenant.provisioning import new_logins
from tenant.store.server import ProvisionedServer
from tenant.transfer import tables
from tenant.transfer.sessions import one_snapshot, table_sessions

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from nagaya_local.parts.postgres import PostgresServer
    from tenant.composition import Composition
    from tenant.config import Config
    from tenant.domain.databases import Database


@pytest.fixture
async def whole(config: Config) -> AsyncIterator[Composition]:
    """The service with every table there is."""
    async with started(config) as service:
        await publish_services(service)
        yield service


@pytest.fixture
async def server(config: Config) -> AsyncIterator[ProvisionedServer]:
    server = ProvisionedServer("main", config.database)
    yield server
    await server.close()


@asynccontextmanager
async def superuser(
    postgres: PostgresServer, database: Database
) -> AsyncGenerator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(postgres.superuser_url(database.name))
    try:
        yield connection
    finally:
        await connection.close()


async def made(service: Composition) -> Database:
    """Return a new database with every table, in which no tenant is yet."""
    database = new_tenant_database(service.servers.main.management)
    async with service.management.connection() as connection:
        await service.provisioning.create(connection, "main", database, new_logins())
    return database


async def copied(source: ProvisionedServer, old: Database, new: Database) -> dict[str, str]:
    """Copy all tables from a tenant's database to another one; return their digests."""
    read: dict[str, str] = {}
    async with (
        table_sessions(source, old) as from_,
        table_sessions(source, new) as to,
        one_snapshot(from_),
    ):
        for table in await tables.foreign_key_order(from_["tenant"]):
            pieces: list[bytes] = []

            async def keep(piece: bytes, pieces: list[bytes] = pieces) -> None:
                pieces.append(piece)

            async def again(pieces: list[bytes] = pieces) -> AsyncIterator[bytes]:
                for piece in pieces:
                    yield piece

            found = await tables.read(from_[table.service], table, keep)
            await tables.load(to[table.service], table, again())
            assert found == await tables.digest(to[table.service], table), table.name
            read[table.name] = found.digest
        for service, session in from_.items():
            states = [s for s in await tables.sequences(session) if s.service == service]
            await tables.set_sequences(to[service], states)
    return read


async def test_every_table_is_read_and_loaded_by_its_own_migration_role(
    whole: Composition, server: ProvisionedServer, postgres: PostgresServer
) -> None:
    old = (await whole.tenants.create("acme", "r1", "Acme")).database
    new = await made(whole)
    async with superuser(postgres, old) as before, superuser(postgres, new) as after:
        await fill(before, "acme")

        read = await copied(server, old, new)

        left_out = tables.OF_THE_INSTALLATION
        expected = await content(before, without=left_out)
        assert await content(after, without=left_out) == expected
        assert read.keys() == expected.tables.keys()
        unfilled = {name for name, (rows, _) in expected.tables.items() if not rows}
        assert unfilled <= {*NOT_FILLED}


NOT_FILLED = ("outbox", "start_rate", "artifact_writes", "artifact_bodies", "llm_replies")
"""Tables that are empty when no run is in progress."""


async def test_what_others_refer_to_comes_first(
    whole: Composition, server: ProvisionedServer
) -> None:
    tenant = await whole.tenants.create("acme", "r1", "Acme")

    async with table_sessions(server, tenant.database) as sessions:
        found = await tables.foreign_key_order(sessions["tenant"])

    names = [table.name for table in found]
    for child, parent in (
        ("steps", "runs"), ("step_attempts", "steps"), ("artifacts", "runs"),
        ("artifact_chunks", "artifacts"), ("lineage", "artifacts"), ("llm_calls", "runs"),
        ("llm_call_attempts", "llm_calls"), ("llm_replies", "llm_call_attempts"),
    ):  # fmt: skip
        assert names.index(parent) < names.index(child)
    assert not set(names) & set(tables.OF_THE_INSTALLATION)


async def test_all_sessions_read_at_one_snapshot(
    whole: Composition, server: ProvisionedServer, postgres: PostgresServer
) -> None:
    tenant = await whole.tenants.create("acme", "r1", "Acme")
    async with superuser(postgres, tenant.database) as connection:
        await fill(connection, "acme", runs=1)
        async with table_sessions(server, tenant.database) as sessions, one_snapshot(sessions):
            found = await tables.foreign_key_order(sessions["tenant"])
            before = [await tables.digest(sessions[table.service], table) for table in found]
            await fill(connection, "acme-2", runs=2)
            after = [await tables.digest(sessions[table.service], table) for table in found]

    assert before == after


async def test_the_migration_roles_log_in_only_meanwhile(
    whole: Composition, server: ProvisionedServer, management: asyncpg.Connection
) -> None:
    tenant = await whole.tenants.create("acme", "r1", "Acme")
    sql = "SELECT count(*) FROM pg_roles WHERE rolname LIKE $1 AND rolcanlogin"
    pattern = tenant.database.name + "%_mig"

    async with table_sessions(server, tenant.database):
        assert await management.fetchval(sql, pattern) == 4

    assert await management.fetchval(sql, pattern) == 0
