"""The table `tenants`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import paging
from tenant.domain.databases import Database
from tenant.domain.tenants import Tenant, TenantState

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import timedelta

    import asyncpg

    from dataplane.pools import Connection

_ABOUT = (
    "next_credentials",
    "tenant_credentials",
    "tenant_secrets",
    "schema_states",
    "sagas",
    "backups",
    "backup_schedules",
)
"""The tables with rows about tenants that go with them, but for `operations`."""
_COLUMNS = (
    "id, name, state, generation, server_id, server_labels, db_name, steward, request_id, "
    "created_at, updated_at, path_prefix, deleted_at, purge_at"
)


async def insert(
    connection: Connection,
    tenant_id: str,
    request_id: str,
    name: str,
    server_id: str,
    database: Database,
    encrypted_url: str,
    server_labels: Mapping[str, str],
    path_prefix: str,
) -> Tenant | None:
    """Insert a tenant in state `creating`; None if its id or request id is in use."""
    return await _one(
        connection,
        f"""
        INSERT INTO tenants (id, request_id, name, server_id, db_name, steward, database_url,
                             server_labels, path_prefix, state, is_active)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'creating', false)
        ON CONFLICT DO NOTHING
        RETURNING {_COLUMNS}
        """,
        tenant_id,
        request_id,
        name,
        server_id,
        database.name,
        database.manager,
        encrypted_url,
        json.dumps(dict(server_labels)),
        path_prefix,
    )


async def find(connection: Connection, tenant_id: str) -> Tenant | None:
    return await _one(connection, f"SELECT {_COLUMNS} FROM tenants WHERE id = $1", tenant_id)


async def lock(connection: Connection, tenant_id: str) -> Tenant | None:
    """Return a tenant, whose row nobody else changes until the transaction ends."""
    sql = f"SELECT {_COLUMNS} FROM tenants WHERE id = $1 FOR UPDATE"
    return await _one(connection, sql, tenant_id)


async def find_by_request_id(connection: Connection, request_id: str) -> Tenant | None:
    sql = f"SELECT {_COLUMNS} FROM tenants WHERE request_id = $1"
    return await _one(connection, sql, request_id)


async def set_state(connection: Connection, tenant_id: str, state: TenantState) -> Tenant | None:
    """Update a tenant's state and generation; None if it is gone, or in that state already."""
    return await _one(
        connection,
        f"""
        UPDATE tenants
           SET state = $2, is_active = ($2 = 'active'), generation = generation + 1,
               updated_at = now()
         WHERE id = $1 AND state <> $2
        RETURNING {_COLUMNS}
        """,
        tenant_id,
        state.value,
    )


async def rename(connection: Connection, tenant_id: str, name: str) -> Tenant | None:
    """Change the name shown to people; None if the tenant is gone."""
    return await _one(
        connection,
        f"UPDATE tenants SET name = $2, updated_at = now() WHERE id = $1 RETURNING {_COLUMNS}",
        tenant_id,
        name,
    )


async def mark_deleted(
    connection: Connection, tenant_id: str, retention: timedelta
) -> Tenant | None:
    """Set the state `deleted`, and when the tenant is to be purged; None if it is gone.

    The generation of one that was never active stays 0.
    """
    return await _one(
        connection,
        f"""
        UPDATE tenants
           SET state = 'deleted', is_active = false, purge_at = now() + $2,
               deleted_at = coalesce(deleted_at, now()), updated_at = now(),
               generation = generation + (generation > 0 AND state <> 'deleted')::int
         WHERE id = $1
        RETURNING {_COLUMNS}
        """,
        tenant_id,
        retention,
    )


async def mark_undeleted(connection: Connection, tenant_id: str) -> Tenant | None:
    """Set the state `suspended`, or `creating` if the tenant was never active."""
    return await _one(
        connection,
        f"""
        UPDATE tenants
           SET state = CASE generation WHEN 0 THEN 'creating' ELSE 'suspended' END,
               deleted_at = NULL, purge_at = NULL, updated_at = now(),
               generation = generation + (generation > 0)::int
         WHERE id = $1 AND state = 'deleted'
        RETURNING {_COLUMNS}
        """,
        tenant_id,
    )


async def due_for_purge(connection: Connection) -> list[Tenant]:
    """Return the deleted tenants whose time has come, the earliest first."""
    rows = await connection.fetch(
        f"""
        SELECT {_COLUMNS} FROM tenants
         WHERE state = 'deleted' AND purge_at <= now()
         ORDER BY purge_at
        """
    )
    return [_tenant(row) for row in rows]


async def delete(connection: Connection, tenant_id: str) -> None:
    """Delete a tenant's row, and the rows about it in other tables of the service."""
    tables = ("next_credentials", "tenant_credentials", "tenant_secrets", "schema_states", "sagas")
    for table in tables:
        await connection.execute(f"DELETE FROM {table} WHERE tenant_id = $1", tenant_id)
    await connection.execute("DELETE FROM tenants WHERE id = $1", tenant_id)


async def count_rows(connection: Connection, tenant_id: str, kept_operation_id: str) -> int:
    """Count the rows that a purge deletes in the tables of the service; but for one operation."""
    counts = [f"(SELECT count(*) FROM {table} WHERE tenant_id = $1)" for table in _ABOUT]
    return await connection.fetchval(
        f"""
        SELECT (SELECT count(*) FROM tenants WHERE id = $1) + {" + ".join(counts)}
             + (SELECT count(*) FROM operations WHERE tenant_id = $1 AND id <> $2::uuid)
        """,
        tenant_id,
        kept_operation_id,
    )


async def place(
    connection: Connection,
    tenant_id: str,
    server_id: str,
    database: Database,
    encrypted_url: str,
) -> Tenant | None:
    """Let a tenant's row name another database; the generation grows. None if it is gone."""
    return await _one(
        connection,
        f"""
        UPDATE tenants
           SET server_id = $2, db_name = $3, steward = $4, database_url = $5,
               generation = generation + 1, updated_at = now()
         WHERE id = $1
        RETURNING {_COLUMNS}
        """,
        tenant_id,
        server_id,
        database.name,
        database.manager,
        encrypted_url,
    )


async def set_path_prefix(connection: Connection, tenant_id: str, path_prefix: str) -> None:
    """Set what the paths of a tenant's files begin with, before anybody uses its database."""
    await connection.execute(
        "UPDATE tenants SET path_prefix = $2 WHERE id = $1", tenant_id, path_prefix
    )


async def delete_unfinished(connection: Connection, tenant_id: str) -> None:
    """Delete the row of a tenant that never became active, and what belongs to it."""
    await connection.execute(
        """
        WITH state AS (DELETE FROM schema_states WHERE tenant_id = $1),
             credential AS (DELETE FROM tenant_credentials WHERE tenant_id = $1)
        DELETE FROM tenants WHERE id = $1 AND state = 'creating'
        """,
        tenant_id,
    )


async def page(
    connection: Connection, covered: Collection[str] | None, size: int, token: str
) -> paging.Page[Tenant]:
    """Return one page of tenants, sorted by id; limited to `covered`, unless it is None."""
    limit = size or paging.DEFAULT_SIZE
    rows = await connection.fetch(
        f"""
        SELECT {_COLUMNS}
          FROM tenants
         WHERE id > $1 AND ($2::text[] IS NULL OR id = ANY($2))
         ORDER BY id
         LIMIT $3
        """,
        paging.decode(token, str) or "",
        None if covered is None else list(covered),
        limit + 1,
    )
    return paging.page(rows, limit, _tenant, "id")


async def find_many(connection: Connection, tenant_ids: Collection[str]) -> list[Tenant]:
    """Return those of these tenants that exist."""
    sql = f"SELECT {_COLUMNS} FROM tenants WHERE id = ANY($1)"
    return [_tenant(row) for row in await connection.fetch(sql, list(tenant_ids))]


async def list_all(connection: Connection) -> list[Tenant]:
    """Return all tenants, sorted by id."""
    rows = await connection.fetch(f"SELECT {_COLUMNS} FROM tenants ORDER BY id")
    return [_tenant(row) for row in rows]


async def list_active(connection: Connection) -> list[Tenant]:
    """Return the active tenants, sorted by id."""
    sql = f"SELECT {_COLUMNS} FROM tenants WHERE is_active ORDER BY id"
    return [_tenant(row) for row in await connection.fetch(sql)]


async def database_names(connection: Connection, server_id: str) -> set[str]:
    """Return the names of the databases of all tenants on one server."""
    rows = await connection.fetch("SELECT db_name FROM tenants WHERE server_id = $1", server_id)
    return {row["db_name"] for row in rows}


async def _one(connection: Connection, sql: str, *values: object) -> Tenant | None:
    row = await connection.fetchrow(sql, *values)
    return None if row is None else _tenant(row)


def _tenant(row: asyncpg.Record) -> Tenant:
    return Tenant(
        tenant_id=row["id"],
        name=row["name"],
        state=TenantState(row["state"]),
        generation=row["generation"],
        server_id=row["server_id"],
        server_labels=json.loads(row["server_labels"]),
        database=Database(row["db_name"], row["steward"]),
        request_id=row["request_id"],
        create_time=row["created_at"],
        update_time=row["updated_at"],
        path_prefix=row["path_prefix"],
        delete_time=row["deleted_at"],
        purge_time=row["purge_at"],
    )
