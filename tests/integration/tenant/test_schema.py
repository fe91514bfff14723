"""The tables as the specification names them (design, section 2), read from the catalogue."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import asyncpg
from tests.integration.tenant.harness import RUNS, migration

from tenant.app.startup import own_migrations
from tenant.config import MIGRATIONS
from tenant.domain.migrations import MigrationTarget

if TYPE_CHECKING:
    from dataplane.pools import Connection
    from nagaya_local.parts.postgres import PostgresServer
    from tenant.composition import Composition
    from tenant.config import Config

TENANTS = [
    ("id", "text", "NO", None),
    ("name", "text", "NO", None),
    ("database_url", "text", "NO", None),
    ("created_at", "timestamp with time zone", "NO", "now()"),
    ("is_active", "boolean", "NO", "true"),
]
AUDIT_LOGS = [
    ("id", "bigint", "NO", None),
    ("user_id", "text", "NO", None),
    ("action", "text", "NO", None),
    ("resource_type", "text", "NO", None),
    ("resource_id", "text", "NO", None),
    ("details", "jsonb", "YES", None),
    ("created_at", "timestamp with time zone", "NO", "clock_timestamp()"),
]


async def columns(connection: Connection, table: str) -> list[tuple[str, str, str, str | None]]:
    rows = await connection.fetch(
        """
        SELECT column_name, data_type, is_nullable, column_default
          FROM information_schema.columns
         WHERE table_schema = 'public' AND table_name = $1
         ORDER BY ordinal_position
        """,
        table,
    )
    return [tuple(row) for row in rows]


async def primary_key(connection: Connection, table: str) -> str:
    return await connection.fetchval(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = $1::regclass"
        " AND contype = 'p'",
        f"public.{table}",
    )


async def definitions(connection: Connection) -> dict[str, str]:
    """Return what the foundation of a database is made of, by name."""
    rows = await connection.fetch(
        """
        SELECT proname AS name, prosrc || pg_get_function_arguments(oid) || prosecdef
               || array_to_string(proconfig, ',') AS definition
          FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND proname NOT IN (
                'tenants_changed', 'management_credentials_changed')
         UNION ALL
        SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
         WHERE conrelid::regclass::text IN (
                'audit_logs', 'audit_head', 'audit_unchained', 'schema_migrations')
         UNION ALL
        SELECT tgname, regexp_replace(pg_get_triggerdef(oid), 'ON \\S+', '') FROM pg_trigger
         WHERE tgrelid IN ('audit_logs'::regclass, 'audit_unchained'::regclass)
        """
    )
    return {row["name"]: row["definition"] for row in rows}


async def test_the_management_database_has_the_specified_tenants_table(
    service: Composition, management: asyncpg.Connection
) -> None:
    assert (await columns(management, "tenants"))[: len(TENANTS)] == TENANTS
    assert await primary_key(management, "tenants") == "PRIMARY KEY (id)"


async def test_a_tenants_database_has_the_specified_audit_log(service: Composition) -> None:
    await service.tenants.create("acme", "r1", "Acme")

    async with service.tenant_pools.connection("acme") as connection:
        assert (await columns(connection, "audit_logs"))[: len(AUDIT_LOGS)] == AUDIT_LOGS
        assert await primary_key(connection, "audit_logs") == "PRIMARY KEY (id)"


async def test_both_databases_have_the_same_foundation(
    service: Composition, postgres: PostgresServer, management: asyncpg.Connection
) -> None:
    tenant = await service.tenants.create("acme", "r1", "Acme")
    own = await asyncpg.connect(postgres.superuser_url(tenant.database.name))
    try:
        assert await definitions(own) == await definitions(management)
        for table in ("audit_logs", "audit_head", "audit_unchained", "schema_migrations"):
            assert await columns(own, table) == await columns(management, table)
    finally:
        await own.close()


async def test_tables_belong_to_the_migration_role_of_their_service(
    service: Composition, postgres: PostgresServer
) -> None:
    tenant = await service.tenants.create("acme", "r1", "Acme")
    added = migration("runs", 2, "CREATE TABLE added (id INT)")
    await service.schema.publish("runs", [RUNS, added])
    own = await asyncpg.connect(postgres.superuser_url(tenant.database.name))
    try:
        rows = await own.fetch(
            """
            SELECT tablename, tableowner,
                   ARRAY(SELECT rolname::text FROM pg_roles AS r
                          WHERE r.rolname = ANY($1)
                            AND pg_has_role(r.rolname, tableowner, 'USAGE')) AS held
              FROM pg_tables WHERE schemaname = 'public'
            """,
            list(tenant.database.logins),
        )
        locale = await own.fetchrow(
            "SELECT datlocprovider::text, datlocale FROM pg_database WHERE datname = $1",
            tenant.database.name,
        )
    finally:
        await own.close()

    holders = {row["tablename"]: row["held"] for row in rows}
    assert holders["runs"] == holders["added"] == [tenant.database.migration("runs")]
    assert holders["artifacts"] == [tenant.database.migration("artifacts")]
    assert holders["tenant_identity"] == [tenant.database.migration("tenant")]
    assert holders["audit_logs"] == holders["audit_unchained"] == []  # of no login
    assert locale is not None
    assert tuple(locale) == ("b", "C.UTF-8")


async def test_only_this_services_tables_are_in_the_management_database_at_first(
    service: Composition, management: asyncpg.Connection, config: Config
) -> None:
    rows = await management.fetch(
        "SELECT tablename, tableowner FROM pg_tables WHERE schemaname = 'public'"
    )

    name = config.database.database  # the audit tables are handed over in the background
    assert {row["tableowner"] for row in rows} <= {f"{name}_tenant_mig", f"{name}_audit"}
    made = [
        table
        for file in own_migrations(MIGRATIONS)
        if file.target is MigrationTarget.MANAGEMENT
        for table in re.findall(r"^CREATE TABLE (\w+)", file.sql, re.MULTILINE)
    ]
    assert sorted(row["tablename"] for row in rows) == sorted(made)
