"""Who may write the audit tables: nobody but a superuser of the server, whatever login it is."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg
import pytest
from tests.integration.tenant.harness import RUNS, migration

from dataplane import audit
from tenant.domain.databases import AuditRoles, Database
from tenant.store import audit_owner

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from contextlib import AbstractAsyncContextManager

    from nagaya_local.parts.postgres import PostgresServer
    from tenant.composition import Composition
    from tenant.config import Config
    from tenant.domain.tenants import Tenant

    Connection = asyncpg.Connection[asyncpg.Record]

CHANGES = (
    "UPDATE audit_logs SET user_id = 'eve'",
    "DELETE FROM audit_logs",
    "TRUNCATE audit_logs",
    "INSERT INTO audit_logs (user_id, action, resource_type, resource_id, sequence,"
    " database_role, digest) VALUES ('eve', 'a', 'b', 'c', 9, 'd', repeat('0', 64))",
    "DELETE FROM audit_unchained",
    "INSERT INTO audit_unchained (user_id, action, resource_type, resource_id, database_role)"
    " VALUES ('eve', 'a', 'b', 'c', 'd')",
    "UPDATE audit_head SET sequence = 0",
    "ALTER TABLE audit_logs DISABLE TRIGGER ALL",
    "ALTER TABLE audit_unchained DISABLE TRIGGER ALL",
    "DROP TRIGGER audit_logs_append_only ON audit_logs",
    "CREATE TRIGGER mine BEFORE INSERT ON audit_logs EXECUTE FUNCTION audit_refuse()",
    "ALTER TABLE audit_logs OWNER TO CURRENT_USER",
    "ALTER TABLE audit_head ADD COLUMN more INT",
    "CREATE RULE mine AS ON INSERT TO audit_logs DO INSTEAD NOTHING",
    "DROP TABLE audit_logs CASCADE",
    "CREATE OR REPLACE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql"
    " AS $$ BEGIN RETURN OLD; END $$",
    "CREATE OR REPLACE FUNCTION audit_append(user_id TEXT, action TEXT, resource_type TEXT,"
    " resource_id TEXT, details JSONB) RETURNS BIGINT LANGUAGE sql AS 'SELECT 1'",
    "DROP FUNCTION audit_chain",
    "ALTER SCHEMA public RENAME TO former",
    "DROP SCHEMA public CASCADE",
    "SET session_replication_role = replica",
)


@pytest.fixture
async def acme(service: Composition) -> Tenant:
    """A tenant as its creation leaves it: a statement that meets a later change is refused."""
    return await service.tenants.create("acme", "r1", "Acme")


@pytest.fixture
async def provisioner(
    config: Config, acme: Tenant, postgres: PostgresServer
) -> Callable[[], AbstractAsyncContextManager[Connection]]:
    """Connects to the tenant's database as the provisioner, which has made itself all it can."""
    entrance = await asyncpg.connect(postgres.provisioner_url(config.database.database))
    database = acme.database
    await entrance.execute(f'SET ROLE "{database.manager}"')
    for role in database.roles:
        await entrance.execute(f'GRANT "{role}" TO nagaya_provisioner WITH INHERIT TRUE, SET TRUE')
    await entrance.close()

    @asynccontextmanager
    async def connected() -> AsyncGenerator[Connection]:
        connection = await asyncpg.connect(postgres.provisioner_url(database.name))
        yield connection
        await connection.close()

    return connected


async def refused(connection: Connection, sql: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute(sql)


async def test_the_provisioner_cannot_change_a_log_in_any_role_that_it_manages(
    provisioner: Callable[[], AbstractAsyncContextManager[Connection]], acme: Tenant
) -> None:
    logins = ["nagaya_provisioner", *acme.database.roles]
    for role in logins:
        async with provisioner() as connection:
            await connection.execute(f'SET ROLE "{role}"')
            for sql in CHANGES:
                await refused(connection, sql)


async def test_the_provisioner_cannot_become_the_owner(
    provisioner: Callable[[], AbstractAsyncContextManager[Connection]], config: Config
) -> None:
    roles = AuditRoles(Database(config.database.database))
    async with provisioner() as connection:
        for role in (roles.owner, roles.handover):
            for sql in (
                'SET ROLE "{}"',
                'GRANT "{}" TO CURRENT_USER',
                "ALTER ROLE \"{}\" LOGIN PASSWORD 'mine'",
                'ALTER ROLE "{}" RENAME TO mine',
                'DROP ROLE "{}"',
                'CREATE ROLE mine IN ROLE "{}"',
                'REASSIGN OWNED BY "{}" TO CURRENT_USER',
                'DROP OWNED BY "{}"',
            ):
                await refused(connection, sql.format(role))
        await refused(connection, "DROP SCHEMA nagaya_audit CASCADE")
        with pytest.raises(asyncpg.InvalidParameterValueError):
            await connection.execute(f'SET ROLE "{roles.maker}"')


async def test_the_management_databases_log_is_protected_from_the_start(
    service: Composition, management: asyncpg.Connection, config: Config
) -> None:
    roles = AuditRoles(Database(config.database.database))

    assert await audit_owner.owner_of_log(management) == roles.owner
    for sql in CHANGES:
        await refused(management, sql)
    owner = Database(config.database.database).migration("tenant")
    await management.execute(f'SET ROLE "{owner}"')
    for sql in CHANGES:
        await refused(management, sql)


async def test_a_protected_log_is_written_and_read_as_before(
    service: Composition, acme: Tenant, postgres: PostgresServer
) -> None:
    for name in ("runs", "artifacts"):
        login = await service.connections.resolve(name, "acme")
        connection = await asyncpg.connect(
            host=login.host,
            port=login.port,
            database=login.database,
            user=login.user,
            password=login.password,
        )
        await connection.execute("SELECT audit_append('ada', 'run.create', 'run', $1, NULL)", name)
        await connection.execute("SELECT audit_chain(1000)")
        await connection.close()

    superuser = await asyncpg.connect(postgres.superuser_url(acme.database.name))
    await superuser.execute(f'SET ROLE "{acme.database.migration("tenant")}"')
    read = await superuser.fetch("SELECT database_role FROM audit_logs ORDER BY sequence")
    await superuser.execute("SELECT * FROM audit_unchained, audit_head, audit_logs_id_seq")
    await superuser.close()
    runtime = acme.database.runtime
    assert [row[0] for row in read] == [runtime(name) for name in ("tenant", "runs", "artifacts")]


async def test_other_services_go_on_migrating_a_protected_database(
    service: Composition, acme: Tenant
) -> None:
    more = migration("runs", 2, "CREATE TABLE more (id INT); ALTER TABLE runs ADD COLUMN n INT")
    published = await service.schema.publish("runs", [RUNS, more])

    assert published.behind_tenant_ids == ()


async def test_a_log_is_protected_while_others_write_to_it(service: Composition) -> None:
    await service.tenants.create("acme", "r1", "Acme")
    async with service.tenant_pools.transaction("acme") as writer:
        await audit.append(writer, "prompt.create", "prompt", "one")
        await service.sweep.round()  # the table is locked: another time
    await service.sweep.round()

    async with service.tenant_pools.connection("acme") as connection:
        await audit.chain_all(connection)
        assert (await audit_owner.owner_of_log(connection) or "").endswith("_audit")
        assert await connection.fetchval("SELECT count(*) FROM audit_logs") == 2
