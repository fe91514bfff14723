"""The table `schema_states`: which migrations each database had when it was last connected to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import paging
from tenant.domain.schema import SchemaStatus

if TYPE_CHECKING:
    from collections.abc import Collection

    import asyncpg

    from dataplane.pools import Connection
    from tenant.domain.schema import MigrationProgress

# A row for each pair of a database and a service that has published migrations for its target.
_STATUSES = """
    SELECT d.tenant_id, d.created_at, p.service, coalesce(s.applied_number, 0) AS applied_number,
           p.published_number, s.applied_at, coalesce(s.failure, '') AS failure, d.state
      FROM (
            SELECT '' AS tenant_id, 'management' AS target, 'active' AS state,
                   '-infinity'::timestamptz AS created_at
             UNION ALL
            SELECT id, 'tenant', state, created_at FROM tenants
           ) AS d
      JOIN (
            SELECT service, target, max(number) AS published_number
              FROM published_migrations
             GROUP BY service, target
           ) AS p USING (target)
      LEFT JOIN schema_states AS s USING (tenant_id, service)
"""


async def record(connection: Connection, tenant_id: str, progress: MigrationProgress) -> None:
    """Record the last applied migration of each service in one database, and what failed."""
    await connection.executemany(
        """
        INSERT INTO schema_states (tenant_id, service, applied_number, applied_at, failure)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (tenant_id, service) DO UPDATE
           SET applied_number = excluded.applied_number, applied_at = excluded.applied_at,
               failure = excluded.failure
        """,
        [
            (
                tenant_id,
                service,
                applied.number if applied is not None else 0,
                applied.time if applied is not None else None,
                str(failure) if failure is not None else "",
            )
            for service in progress.applied.keys() | progress.failures.keys()
            for applied, failure in [
                (progress.applied.get(service), progress.failures.get(service))
            ]
        ],
    )


async def replace(connection: Connection, tenant_id: str, progress: MigrationProgress) -> None:
    """Record what a tenant's database has, which is another one than before."""
    await connection.execute(
        """
        UPDATE schema_states SET applied_number = 0, applied_at = NULL, failure = ''
         WHERE tenant_id = $1
        """,
        tenant_id,
    )
    await record(connection, tenant_id, progress)


async def applied_numbers(connection: Connection, tenant_id: str) -> dict[str, int]:
    """Return the last applied number of each service in one database."""
    sql = "SELECT service, applied_number FROM schema_states WHERE tenant_id = $1"
    rows = await connection.fetch(sql, tenant_id)
    return {row["service"]: row["applied_number"] for row in rows}


async def is_behind(connection: Connection, tenant_id: str) -> bool:
    """Return whether a database lacks a published migration."""
    sql = f"""
        SELECT EXISTS (
            {_STATUSES}
             WHERE d.tenant_id = $1 AND coalesce(s.applied_number, 0) < p.published_number
        )
    """
    return bool(await connection.fetchval(sql, tenant_id))


async def tenants_behind(connection: Connection) -> list[str]:
    """Return the ids of the active tenants that lack a published migration, the oldest first."""
    rows = await connection.fetch(
        f"""
        SELECT tenant_id
          FROM ({_STATUSES}) AS statuses
         WHERE state = 'active' AND tenant_id <> '' AND applied_number < published_number
         GROUP BY tenant_id, created_at
         ORDER BY created_at, tenant_id
        """
    )
    return [row["tenant_id"] for row in rows]


async def tenants_left(connection: Connection) -> list[str]:
    """Return the ids of the active tenants that lack a migration and where none has failed."""
    rows = await connection.fetch(
        f"""
        SELECT tenant_id
          FROM ({_STATUSES}) AS statuses
         WHERE state = 'active' AND tenant_id <> ''
         GROUP BY tenant_id, created_at
        HAVING bool_or(applied_number < published_number) AND bool_and(failure = '')
         ORDER BY created_at, tenant_id
        """
    )
    return [row["tenant_id"] for row in rows]


async def current_and_behind(connection: Connection, service: str) -> tuple[int, list[str]]:
    """Return how many active tenants have all migrations of a service, and the others' ids."""
    rows = await connection.fetch(
        f"""
        SELECT tenant_id, applied_number >= published_number AS current
          FROM ({_STATUSES}) AS statuses
         WHERE state = 'active' AND tenant_id <> '' AND service = $1
         ORDER BY tenant_id
        """,
        service,
    )
    behind = [row["tenant_id"] for row in rows if not row["current"]]
    return len(rows) - len(behind), behind


async def replaceable_numbers(connection: Connection, service: str) -> dict[str, int]:
    """Return, by target, the number from which on a service's migrations were applied nowhere.

    Only targets of which a migration has failed: others may not be corrected.
    """
    rows = await connection.fetch(
        """
        SELECT CASE tenant_id WHEN '' THEN 'management' ELSE 'tenant' END AS target,
               max(applied_number) + 1 AS number
          FROM schema_states
         WHERE service = $1
         GROUP BY 1
        HAVING bool_or(failure <> '')
        """,
        service,
    )
    return {row["target"]: row["number"] for row in rows}


async def page(
    connection: Connection, tenant_id: str, covered: Collection[str] | None, size: int, token: str
) -> paging.Page[SchemaStatus]:
    """Return one page of statuses, sorted by tenant and service.

    Of one tenant, or of all when `tenant_id` is empty; limited to `covered`, unless it is None.
    """
    limit = size or paging.DEFAULT_SIZE
    after = paging.decode(token, str, str) or ("", "")
    rows = await connection.fetch(
        f"""
        SELECT tenant_id, service, applied_number, published_number, applied_at, failure
          FROM ({_STATUSES}) AS statuses
         WHERE (tenant_id, service) > ($1, $2)
           AND ($3 = '' OR tenant_id = $3)
           AND ($4::text[] IS NULL OR tenant_id = ANY($4))
         ORDER BY tenant_id, service
         LIMIT $5
        """,
        *after,
        tenant_id,
        None if covered is None else list(covered),
        limit + 1,
    )
    return paging.page(rows, limit, _status, "tenant_id", "service")


def _status(row: asyncpg.Record) -> SchemaStatus:
    return SchemaStatus(
        tenant_id=row["tenant_id"],
        service=row["service"],
        applied_number=row["applied_number"],
        published_number=row["published_number"],
        apply_time=row["applied_at"],
        failure=row["failure"],
    )
