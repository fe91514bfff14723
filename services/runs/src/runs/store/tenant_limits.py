"""The table `runs_tenant_limits` of the management database: tenants whose limits are not usual."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runs.domain.tenant_limits import USUAL, TenantLimits

if TYPE_CHECKING:
    import asyncpg

    from dataplane.pools import Connection

TABLE = "runs_tenant_limits"
_COLUMNS = "tenant_id, weight, max_steps, starts_per_minute, max_runs"


async def find(connection: Connection, tenant_id: str) -> TenantLimits:
    """Return a tenant's limits."""
    sql = f"SELECT {_COLUMNS} FROM {TABLE} WHERE tenant_id = $1"
    row = await connection.fetchrow(sql, tenant_id)
    return USUAL if row is None else _limits(row)


async def find_all(connection: Connection) -> dict[str, TenantLimits]:
    """Return the limits of every tenant that has others than the usual ones."""
    rows = await connection.fetch(f"SELECT {_COLUMNS} FROM {TABLE}")
    return {row["tenant_id"]: _limits(row) for row in rows}


async def put(connection: Connection, tenant_id: str, limits: TenantLimits) -> bool:
    """Set a tenant's limits; return whether they have changed."""
    if limits == USUAL:
        sql = f"DELETE FROM {TABLE} WHERE tenant_id = $1 RETURNING true"
        return bool(await connection.fetchval(sql, tenant_id))
    found = await connection.fetchval(
        f"""
        INSERT INTO {TABLE} AS known ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (tenant_id) DO UPDATE
           SET weight = $2, max_steps = $3, starts_per_minute = $4, max_runs = $5
         WHERE (known.weight, known.max_steps, known.starts_per_minute, known.max_runs)
               IS DISTINCT FROM ($2, $3, $4, $5)
        RETURNING true
        """,
        tenant_id,
        limits.weight,
        limits.max_steps,
        limits.starts_per_minute,
        limits.max_runs,
    )
    return bool(found)


def _limits(row: asyncpg.Record) -> TenantLimits:
    return TenantLimits(row["weight"], row["max_steps"], row["starts_per_minute"], row["max_runs"])
