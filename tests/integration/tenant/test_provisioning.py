"""Databases made, placed and dropped on another server than the management database's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest
from tests.integration.tenant.harness import RUNS, killed_at
from tests.support.waiting import fewer_run, wait_until

from tenant.app.startup import own_migrations
from tenant.config import MIGRATIONS
from tenant.domain.databases import new_tenant_database
from tenant.domain.migrations import MigrationTarget
from tenant.errors import ServerNotFound
from tenant.errors.deletion import DatabaseInUse
from tenant.provisioning import new_logins
from tenant.store import database_drops, databases, published_migrations, roles, tenants

if TYPE_CHECKING:
    from nagaya_local.parts.postgres import PostgresServer
    from tenant.composition import Composition
    from tenant.domain.databases import Database


TENANT_FILES = max(m.number for m in own_migrations(MIGRATIONS) if m.target == "tenant")


async def left_on(server: PostgresServer, database: Database) -> list[str]:
    """Return the database and the roles of this name that a server has."""
    superuser = await asyncpg.connect(server.superuser_url())
    rows = await superuser.fetch(
        """
        SELECT datname AS name FROM pg_database WHERE datname = $1
         UNION ALL
        SELECT rolname FROM pg_roles WHERE starts_with(rolname, $1)
        """,
        database.name,
    )
    await superuser.close()
    return [row["name"] for row in rows]


async def test_a_database_on_another_server_has_every_table_and_no_row(
    service: Composition, second_server: PostgresServer
) -> None:
    database, logins = new_tenant_database(service.servers.main.management), new_logins()
    async with service.management.connection() as connection:
        progress = await service.provisioning.create(connection, "second", database, logins)

    assert {name: last.number for name, last in progress.applied.items()} == {
        "tenant": TENANT_FILES,
        "runs": 1,
        "artifacts": 1,
    }
    for of, password in logins.items():
        own = await asyncpg.connect(
            host="127.0.0.1",
            port=second_server.port,
            database=database.name,
            user=database.runtime(of),
            password=password,
        )
        if of == "tenant":
            assert await own.fetchval("SELECT count(*) FROM tenant_identity") == 0
        await own.close()


async def test_exactly_the_given_migrations_are_applied_to_an_empty_database(
    service: Composition, second_server: PostgresServer
) -> None:
    database, logins = new_tenant_database(service.servers.main.management), new_logins()
    async with service.management.connection() as connection:
        published = await published_migrations.list_for(connection, MigrationTarget.TENANT)
        own = [migration for migration in published if migration.service == "tenant"]
        progress = await service.provisioning.create(
            connection, "second", database, logins, migrations=[*own, RUNS]
        )

    assert sorted(progress.applied) == ["runs", "tenant"]
    assert await left_on(second_server, database) != []


async def test_a_creation_that_died_is_finished_or_dropped(
    service: Composition, second_server: PostgresServer
) -> None:
    database, logins = new_tenant_database(service.servers.main.management), new_logins()
    async with service.management.connection() as connection:
        for store, function in ((databases, "create"), (databases, "restrict_connect")):
            with killed_at(store, function):
                await service.provisioning.create(connection, "second", database, logins)
        await service.provisioning.create(connection, "second", database, logins)
    assert len(await left_on(second_server, database)) == 10

    with killed_at(roles, "drop"):
        await service.provisioning.drop("second", database)
    assert len(await left_on(second_server, database)) == 9
    await service.provisioning.drop("second", database)
    assert await left_on(second_server, database) == []
    await service.provisioning.drop("second", database)


async def test_a_tenant_is_switched_to_another_server_and_its_old_login_is_refused(
    service: Composition, second_server: PostgresServer
) -> None:
    acme = await service.tenants.create("acme", "r1", "Acme")
    old = await service.connections.resolve("runs", "acme")
    database, logins = new_tenant_database(service.servers.main.management), new_logins()
    async with service.management.connection() as connection:
        progress = await service.provisioning.create(connection, "second", database, logins)
        await service.provisioning.close("main", acme.database)
        placed = await service.provisioning.place(
            connection, acme, "second", database, logins, progress, "tenant.move", {}
        )
        assert await tenants.find(connection, "acme") == placed

    new = await service.connections.resolve("runs", "acme")
    assert (placed.server_id, placed.database, placed.generation) == ("second", database, 2)
    assert (new.server_id, new.port, new.generation) == ("second", second_server.port, 2)
    with pytest.raises(asyncpg.PostgresError):
        await asyncpg.connect(
            host=old.host,
            port=old.port,
            database=old.database,
            user=old.user,
            password=old.password,
        )
    own = await asyncpg.connect(
        host=new.host, port=new.port, database=new.database, user=new.user, password=new.password
    )
    assert await own.fetchval("SELECT count(*) FROM runs") == 0
    await own.close()


async def test_an_unknown_server_is_refused(service: Composition) -> None:
    database = new_tenant_database(service.servers.main.management)

    with pytest.raises(ServerNotFound):
        await service.provisioning.drop("nowhere", database)


async def made(service: Composition) -> Database:
    database = new_tenant_database(service.servers.main.management)
    async with service.management.connection() as connection:
        await service.provisioning.create(connection, "second", database, new_logins())
    return database


async def test_a_drop_waits_for_a_session_that_it_may_not_end(
    service: Composition, second_server: PostgresServer
) -> None:
    """As of an autovacuum worker, or of a login that the server is just refusing."""
    database = await made(service)
    superuser = await asyncpg.connect(second_server.superuser_url(database.name))
    dropping = asyncio.create_task(service.provisioning.drop("second", database))

    async def is_tried() -> bool:
        return await superuser.fetchval(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE $1)",
            f'DROP DATABASE%"{database.name}"%',
        )

    await wait_until(is_tried, unless=fewer_run((dropping,)))
    await superuser.close()
    await dropping

    assert await left_on(second_server, database) == []


async def test_who_keeps_a_database_from_being_dropped_is_named(
    service: Composition, second_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_drops, "_DROP_SECONDS", 0.0)
    database = await made(service)
    superuser = await asyncpg.connect(second_server.superuser_url(database.name))
    with pytest.raises(DatabaseInUse, match=f"{database.name} is in use by postgres"):
        await service.provisioning.drop("second", database)
    await superuser.close()
    await service.provisioning.drop("second", database)

    assert await left_on(second_server, database) == []
