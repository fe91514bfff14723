"""What the roles of a tenant's database can do there."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import asyncpg
import pytest
from tests.integration.tenant.harness import (
    ARTIFACTS,
    RUNS,
    migration,
    publish_both,
    started,
)

from tenant.domain.migrations import MigrationTarget
from tenant.store import schema_states

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from nagaya_local.parts.postgres import PostgresServer
    from tenant.composition import Composition
    from tenant.config import Config
    from tenant.domain.tenants import Tenant


@pytest.fixture
async def acme(service: Composition) -> Tenant:
    return await service.tenants.create("acme", "r1", "Acme")


@asynccontextmanager
async def logged_in(
    service: Composition, service_name: str, tenant_id: str
) -> AsyncGenerator[asyncpg.Connection]:
    login = await service.connections.resolve(service_name, tenant_id)
    connection = await asyncpg.connect(
        host=login.host,
        port=login.port,
        user=login.user,
        password=login.password,
        database=login.database,
    )
    try:
        yield connection
    finally:
        await connection.close()


async def test_a_services_role_can_only_use_its_own_tables(
    service: Composition, acme: Tenant
) -> None:
    async with logged_in(service, "runs", "acme") as connection:
        for sql in (
            "CREATE TABLE mine (id INT)",
            "CREATE TEMP TABLE mine (id INT)",
            "CREATE SCHEMA mine",
            "ALTER TABLE runs ADD COLUMN x INT",
            "TRUNCATE runs",
            "DROP TABLE runs",
            "CREATE INDEX ON runs (note)",
            "COPY runs TO PROGRAM 'cat'",
            "SELECT pg_read_file('PG_VERSION')",
            "SELECT * FROM artifacts",
            "INSERT INTO artifacts (run_id) VALUES (gen_random_uuid())",
            "SELECT * FROM audit_logs",
            "SELECT * FROM schema_migrations",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename <> current_user",
            "ALTER SYSTEM SET work_mem = '1GB'",
            "CREATE ROLE eve",
            "CREATE DATABASE eve",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(sql)


async def test_services_work_on_their_own_tables_and_refer_to_each_others(
    service: Composition, acme: Tenant
) -> None:
    async with logged_in(service, "runs", "acme") as runs:
        run_id = await runs.fetchval("INSERT INTO runs (note) VALUES ('x') RETURNING id")
        await runs.execute("UPDATE runs SET note = 'y'")
        assert await runs.fetchval("SELECT tenant_id FROM tenant_identity") == "acme"
        await runs.execute("SELECT audit_append('ada', 'run.create', 'run', $1, NULL)", str(run_id))
    async with logged_in(service, "artifacts", "acme") as artifacts:
        await artifacts.execute("INSERT INTO artifacts (run_id) VALUES ($1)", run_id)
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await artifacts.execute("INSERT INTO artifacts (run_id) VALUES (gen_random_uuid())")
    async with logged_in(service, "runs", "acme") as runs:
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await runs.execute("DELETE FROM runs")


async def test_a_services_role_cannot_become_another(service: Composition, acme: Tenant) -> None:
    others = {*acme.database.logins, acme.database.manager, "nagaya_provisioner", "postgres"}
    async with logged_in(service, "runs", "acme") as connection:
        for role in others - {acme.database.runtime("runs")}:
            for sql in (f"SET ROLE {role}", f"SET SESSION AUTHORIZATION {role}"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(sql)


async def test_a_migration_cannot_escape_from_its_role(service: Composition, acme: Tenant) -> None:
    name = acme.database.name
    for sql in (
        f"SET ROLE {name}_artifacts_mig",
        f"SET ROLE {acme.database.manager}",
        "RESET ROLE; SET SESSION AUTHORIZATION DEFAULT; DROP TABLE audit_logs",
        "RESET SESSION AUTHORIZATION; ALTER TABLE artifacts ADD COLUMN eve INT",
        f"DO $$ BEGIN EXECUTE 'SET ROLE {name}_tenant_mig'; END $$",
        f"ALTER DATABASE {name} CONNECTION LIMIT 1",
        f"ALTER DATABASE {name} OWNER TO {name}_runs_mig",
        "ALTER TABLE audit_logs DISABLE TRIGGER ALL",
        "INSERT INTO schema_migrations VALUES ('artifacts', 2, 'x', repeat('0', 64))",
        "CREATE ROLE eve",
        "CREATE EXTENSION vector",
        "COPY runs FROM PROGRAM 'id'",
        "CREATE TEMP TABLE eve (id INT)",
    ):
        published = await service.schema.publish("runs", [RUNS, migration("runs", 2, sql)])
        assert published.behind_tenant_ids == ("acme",)

    page = await statuses(service, "acme")
    assert page["runs"] == (1, "42501 in 2 file_2")
    harmless = f"GRANT CONNECT ON DATABASE {name} TO PUBLIC"  # which only warns
    await service.schema.publish("runs", [RUNS, migration("runs", 2, harmless)])
    async with service.tenant_pools.connection("acme") as connection:
        assert not await connection.fetchval(
            "SELECT has_database_privilege('public', current_database(), 'CONNECT')"
        )


async def test_a_transaction_that_is_ended_behind_our_back_is_noticed(
    service: Composition, acme: Tenant
) -> None:
    ending = replace(migration("runs", 2, "SELECT 1"), sql="SELECT 1; COMMIT; BEGIN")

    published = await service.schema.publish("runs", [RUNS, ending])

    assert published.behind_tenant_ids == ("acme",)
    assert (await statuses(service, "acme"))["runs"] == (1, "2D000 in 2 file_2")


async def test_a_migration_notes_itself_as_its_own_service_only(
    service: Composition, acme: Tenant
) -> None:
    sql = "SELECT nagaya_note_migration(7, 'x', repeat('0', 64))"
    await service.schema.publish("artifacts", [ARTIFACTS, migration("artifacts", 2, sql)])

    async with service.tenant_pools.connection("acme") as connection:
        rows = await connection.fetch("SELECT service FROM schema_migrations WHERE number = 7")
    assert {row["service"] for row in rows} == {"artifacts"}


async def test_in_the_management_database_services_have_tables_of_their_own(
    service: Composition, acme: Tenant
) -> None:
    sql = "CREATE TABLE runs_pending_work (tenant_id TEXT PRIMARY KEY)"
    pending = migration("runs", 1, sql, target=MigrationTarget.MANAGEMENT)
    await service.schema.publish("runs", [RUNS, pending])

    async with logged_in(service, "runs", "") as connection:
        await connection.execute("INSERT INTO runs_pending_work VALUES ('acme')")
        for table in ("tenants", "tenant_credentials", "audit_logs", "published_migrations"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(f"SELECT * FROM {table}")
    async with logged_in(service, "artifacts", "") as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("SELECT * FROM runs_pending_work")


async def test_a_provisioner_without_self_grants_is_enough(
    postgres: PostgresServer, config: Config
) -> None:
    superuser = await asyncpg.connect(postgres.superuser_url())
    setting = "ALTER ROLE nagaya_provisioner {} createrole_self_grant {}"
    await superuser.execute(setting.format("RESET", ""))
    try:
        async with started(config) as service:
            await publish_both(service)
            await service.tenants.create("acme", "r1", "Acme")
            await service.tenants.suspend("acme")
            await service.tenants.resume("acme")
    finally:
        await superuser.execute(setting.format("SET", "= 'set, inherit'"))
        await superuser.close()


async def statuses(service: Composition, tenant_id: str) -> dict[str, tuple[int, str]]:
    """Return how far a tenant has come, by service, and what failed."""
    async with service.management.connection() as connection:
        page = await schema_states.page(connection, tenant_id, None, 0, "")
    return {status.service: (status.applied_number, status.failure) for status in page.items}


PUBLIC = """
    SELECT proname FROM pg_proc
     WHERE pronamespace = 'public'::regnamespace
       AND (proacl IS NULL OR has_function_privilege('public', oid, 'EXECUTE'))
"""


async def test_no_function_is_executable_by_everybody(
    service: Composition, acme: Tenant, management: asyncpg.Connection
) -> None:
    async with logged_in(service, "runs", "acme") as connection:
        assert await connection.fetch(PUBLIC) == []
    assert await management.fetch(PUBLIC) == []
