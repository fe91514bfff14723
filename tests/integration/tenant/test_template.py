"""The database that tenants' databases are copied from."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest
from tests.integration.tenant.harness import (
    ARTIFACTS,
    RUNS,
    killed_at,
    migration,
    publish_both,
    started,
)

from tenant.domain.databases import SERVICES, Database, template_database
from tenant.domain.passwords import scram_verifier
from tenant.store import databases

if TYPE_CHECKING:
    from nagaya_local.parts.postgres import PostgresServer
    from tenant.composition import Composition
    from tenant.config import Config

PASSWORD = "known to this test"


async def templates(management: asyncpg.Connection, config: Config) -> list[str]:
    rows = await management.fetch(
        """
        SELECT datname FROM pg_database
         WHERE starts_with(datname, $1) AND datistemplate AND NOT datallowconn ORDER BY oid
        """,
        f"{config.database.database}_template",
    )
    return [row["datname"] for row in rows]


async def shape(
    postgres: PostgresServer, database: Database
) -> set[tuple[str, str | None, str | None]]:
    """Return everything that is in a database, and what each role may do with it."""
    connection = await asyncpg.connect(postgres.superuser_url(database.name))
    try:
        rows = await connection.fetch(
            """
            SELECT 'column' AS kind, attrelid::regclass || '.' || attname AS name,
                   format_type(atttypid, atttypmod) || attnotnull AS definition
              FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
             WHERE relnamespace = 'public'::regnamespace AND NOT attisdropped
             UNION ALL
            SELECT 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)
              FROM pg_constraint WHERE connamespace = 'public'::regnamespace
             UNION ALL
            SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
             UNION ALL
            SELECT 'trigger', tgname, tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal
             UNION ALL
            SELECT 'function', proname, prosrc FROM pg_proc
             WHERE pronamespace = 'public'::regnamespace
             UNION ALL
            SELECT 'privilege on ' || c.relname, replace(rolname, $1, ''), privilege
              FROM pg_class AS c, pg_roles,
                   unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES',
                                'TRIGGER', 'MAINTAIN']) AS privilege
             WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
               AND rolname = ANY($2) AND has_table_privilege(rolname, c.oid, privilege)
             UNION ALL
            SELECT 'execution of ' || proname, replace(rolname, $1, ''), ''
              FROM pg_proc, pg_roles
             WHERE pronamespace = 'public'::regnamespace AND rolname = ANY($2)
               AND has_function_privilege(rolname, pg_proc.oid, 'EXECUTE')
             UNION ALL
            SELECT 'schema', replace(rolname, $1, ''), privilege
              FROM pg_roles, unnest(ARRAY['CREATE', 'USAGE']) AS privilege
             WHERE rolname = ANY($2) AND has_schema_privilege(rolname, 'public', privilege)
             UNION ALL
            SELECT 'migration', service || number, digest FROM schema_migrations
            """,
            database.name,
            list(database.logins),
        )
        return {tuple(row) for row in rows}
    finally:
        await connection.close()


async def test_a_copy_is_what_the_migrations_make(
    service: Composition, postgres: PostgresServer, management: asyncpg.Connection, config: Config
) -> None:
    copied = await service.tenants.create("copied", "r1", "Copied")
    superuser = await asyncpg.connect(postgres.superuser_url())
    for name in await templates(management, config):
        await superuser.execute(f"ALTER DATABASE {name} IS_TEMPLATE false")
        await superuser.execute(f"DROP DATABASE {name}")
    await superuser.close()
    migrated = await service.tenants.create("migrated", "r2", "Migrated")
    added = migration("runs", 2, "CREATE TABLE added (id SERIAL); ALTER TABLE runs ADD x INT")

    assert await shape(postgres, copied.database) == await shape(postgres, migrated.database)
    await service.schema.publish("runs", [RUNS, added])
    assert await shape(postgres, copied.database) == await shape(postgres, migrated.database)
    for tenant_id in ("copied", "migrated"):
        async with service.tenant_pools.connection(tenant_id) as connection:
            entries = await connection.fetch("SELECT sequence, action FROM audit_logs")
            owner = await connection.fetchval("SELECT tenant_id FROM tenant_identity")
        assert [tuple(row) for row in entries] == [(1, "tenant.create")]
        assert owner == tenant_id


async def test_a_publication_makes_a_new_template_and_drops_the_old_one(
    service: Composition, management: asyncpg.Connection, config: Config
) -> None:
    before = await templates(management, config)
    await service.schema.publish("runs", [RUNS])
    assert await templates(management, config) == before
    await service.schema.publish("runs", [RUNS, migration("runs", 2, "SELECT 1")])
    after = await templates(management, config)

    assert len(before) == len(after) == 1
    assert before != after


async def test_what_cannot_be_applied_makes_no_template_and_refuses_no_publication(
    service: Composition, management: asyncpg.Connection, config: Config
) -> None:
    before = await templates(management, config)

    await service.schema.publish("runs", [RUNS, migration("runs", 2, "SELECT nothing")])

    assert await templates(management, config) == before


async def test_a_template_half_made_is_made_anew(
    service: Composition,
    config: Config,
    management: asyncpg.Connection,
) -> None:
    files = [RUNS, migration("runs", 2, "CREATE TABLE two (id INT)")]
    async with started(config) as dying:
        with killed_at(databases, "convert_to_template"):
            await dying.schema.publish("runs", files)

    await service.schema.publish("runs", files)

    made = await templates(management, config)
    assert len(made) == 1
    unfinished = f"{config.database.database}_template"
    sql = "SELECT count(*) FROM pg_database WHERE datname = $1"
    assert await management.fetchval(sql, unfinished) == 0
    await service.tenants.create("acme", "r1", "Acme")


async def test_no_tenants_role_enters_a_template_even_while_it_is_made(
    service: Composition, config: Config, postgres: PostgresServer
) -> None:
    acme = await service.tenants.create("acme", "r1", "Acme")
    async with started(config) as dying:
        with killed_at(databases, "convert_to_template"):
            await dying.schema.publish("runs", [RUNS, migration("runs", 2, "SELECT 1")])
    template = template_database(Database(config.database.database))
    runtime = [*map(acme.database.runtime, SERVICES), *map(template.runtime, SERVICES)]
    superuser = await asyncpg.connect(postgres.superuser_url())
    for role in runtime:
        await superuser.execute(f"ALTER ROLE {role} LOGIN PASSWORD '{scram_verifier(PASSWORD)}'")
    await superuser.close()

    for role in runtime:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await asyncpg.connect(
                host="127.0.0.1",
                port=postgres.port,
                user=role,
                password=PASSWORD,
                database=template.name,
            )


async def test_tenants_are_created_while_templates_come_and_go(service: Composition) -> None:
    files = [RUNS, *(migration("runs", n, f"CREATE TABLE t{n} (id INT)") for n in range(2, 5))]

    async def publish_all() -> None:
        for number in range(2, 5):
            await service.schema.publish("runs", files[:number])

    made = await asyncio.gather(
        publish_all(), *(service.tenants.create(f"tenant-{n}", f"r{n}", "X") for n in range(4))
    )

    for tenant in made[1:]:
        assert tenant is not None
        async with service.tenant_pools.connection(tenant.tenant_id) as connection:
            sql = "SELECT max(number) FROM schema_migrations WHERE service = 'runs'"
            assert await connection.fetchval(sql) == 4


async def test_without_every_service_there_is_no_template(
    config: Config, management: asyncpg.Connection
) -> None:
    async with started(config) as service:
        await service.schema.publish("artifacts", [ARTIFACTS])
        assert await templates(management, config) == []
        await publish_both(service)
        assert len(await templates(management, config)) == 1
