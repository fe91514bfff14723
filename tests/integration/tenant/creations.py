"""What a creation has made, as the database server shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.audit_log import chain

if TYPE_CHECKING:
    import asyncpg

    from tenant.composition import Composition
    from tenant.domain.databases import Database
    from tenant.domain.tenants import Tenant


async def left_by(
    management: asyncpg.Connection, tenant: Tenant
) -> tuple[list[str], list[str], str]:
    """Return the databases and roles of a tenant, and the marker of its database."""
    databases = await management.fetch(
        """
        SELECT datname, shobj_description(oid, 'pg_database') AS marker
          FROM pg_database WHERE datname = $1 AND datallowconn
        """,
        tenant.database.name,
    )
    roles = await management.fetch(
        'SELECT rolname FROM pg_roles WHERE starts_with(rolname, $1) ORDER BY rolname COLLATE "C"',
        tenant.database.name,
    )
    names = [row["datname"] for row in databases]
    return names, [row["rolname"] for row in roles], databases[0]["marker"]


async def check_complete(
    service: Composition, management: asyncpg.Connection, tenant: Tenant
) -> None:
    """Check that there is exactly one of everything, and that its own role works there."""
    assert await left_by(management, tenant) == (
        [tenant.database.name],
        sorted_roles(tenant.database),
        await marker(management, "ready"),
    )
    async with service.tenant_pools.connection(tenant.tenant_id) as connection:
        audited = await connection.fetch("SELECT action FROM audit_logs")
        applied = await connection.fetch("SELECT service FROM schema_migrations")
    assert [row["action"] for row in audited] == ["tenant.create"]
    assert {row["service"] for row in applied} == {"tenant", "runs", "artifacts"}
    await chain(management)
    audited = await management.fetch("SELECT FROM audit_logs WHERE action = 'tenant.create'")
    assert len(audited) == 1


def sorted_roles(database: Database) -> list[str]:
    return sorted([database.group, *database.logins])


async def marker(management: asyncpg.Connection, state: str) -> str:
    return f"nagaya {await management.fetchval('SELECT id FROM installation')} {state}"
