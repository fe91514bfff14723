"""The table `operations`."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import paging
from tenant.domain.operations import Operation, OperationKind, OperationState, Progress

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import asyncpg

    from dataplane.pools import Connection

COLUMNS = """
    id, kind, tenant_id, request_id, arguments, user_id, state, step, notes, progress_done,
    progress_total, progress_unit, reason, message, stuck_reason, cancel_requested, created_at,
    updated_at, ended_at
"""


async def insert(
    connection: Connection,
    kind: OperationKind,
    tenant_id: str,
    request_id: str,
    arguments: Mapping[str, object],
    user_id: str,
) -> Operation | None:
    """Insert an operation that is to be run; None if its request id is in use."""
    return await one(
        connection,
        f"""
        INSERT INTO operations (kind, tenant_id, request_id, arguments, user_id)
        VALUES ($1, $2, $3, $4::jsonb, $5)
        ON CONFLICT (request_id) DO NOTHING
        RETURNING {COLUMNS}
        """,
        kind.value,
        tenant_id,
        request_id,
        json.dumps(dict(arguments)),
        user_id,
    )


async def find(connection: Connection, operation_id: str) -> Operation | None:
    """Return an operation; None also for what is no id."""
    if (found := _uuid(operation_id)) is None:
        return None
    return await one(connection, f"SELECT {COLUMNS} FROM operations WHERE id = $1", found)


async def find_by_request_id(connection: Connection, request_id: str) -> Operation | None:
    sql = f"SELECT {COLUMNS} FROM operations WHERE request_id = $1"
    return await one(connection, sql, request_id)


async def find_running(connection: Connection, tenant_id: str) -> Operation | None:
    """Return the operation of a tenant that runs, the oldest if there are more."""
    return await one(
        connection,
        f"""
        SELECT {COLUMNS} FROM operations
         WHERE tenant_id = $1 AND state = 'running'
         ORDER BY created_at
         LIMIT 1
        """,
        tenant_id,
    )


async def newest(connection: Connection, tenant_id: str, kind: OperationKind) -> Operation | None:
    """Return the last operation of a kind that was begun for a tenant."""
    return await one(
        connection,
        f"""
        SELECT {COLUMNS} FROM operations
         WHERE tenant_id = $1 AND kind = $2
         ORDER BY created_at DESC, id DESC
         LIMIT 1
        """,
        tenant_id,
        kind.value,
    )


async def begun_by(connection: Connection, prefix: str, since: datetime) -> list[Operation]:
    """Return the operations since then whose request ids begin so, the oldest first."""
    rows = await connection.fetch(
        f"""
        SELECT {COLUMNS} FROM operations
         WHERE created_at >= $2 AND starts_with(request_id, $1)
         ORDER BY created_at, id
        """,
        prefix,
        since,
    )
    return [from_row(row) for row in rows]


async def page(
    connection: Connection,
    covered: Collection[str] | None,
    tenant_id: str,
    state: OperationState | None,
    size: int,
    token: str,
) -> paging.Page[Operation]:
    """Return one page of operations, the newest first.

    Of one tenant, or of all when `tenant_id` is empty; limited to `covered`, unless it is None.
    """
    limit = size or paging.DEFAULT_SIZE
    after = paging.decode(token, datetime, UUID)
    rows = await connection.fetch(
        f"""
        SELECT {COLUMNS}
          FROM operations
         WHERE ($1::timestamptz IS NULL OR (created_at, id) < ($1, $2::uuid))
           AND ($3 = '' OR tenant_id = $3)
           AND ($4::text[] IS NULL OR tenant_id = ANY($4))
           AND ($5::text IS NULL OR state = $5)
         ORDER BY created_at DESC, id DESC
         LIMIT $6
        """,
        *(after or (None, None)),
        tenant_id,
        None if covered is None else list(covered),
        None if state is None else state.value,
        limit + 1,
    )
    return paging.page(rows, limit, from_row, "created_at", "id")


async def reopen(connection: Connection, operation_id: str) -> Operation | None:
    """Have an operation run now that has failed or waits; None if it is in another state."""
    return await one(
        connection,
        f"""
        UPDATE operations
           SET state = 'running', reason = '', message = '', attempts = 0, pause_seconds = 0,
               due_at = now(), updated_at = now(), ended_at = NULL
         WHERE id = $1 AND state IN ('running', 'failed')
        RETURNING {COLUMNS}
        """,
        UUID(operation_id),
    )


async def request_cancellation(connection: Connection, operation_id: str) -> Operation | None:
    """Have an operation cancelled that runs or has failed; None if it is in another state."""
    return await one(
        connection,
        f"""
        UPDATE operations
           SET state = 'running', cancel_requested = true, reason = '', message = '',
               attempts = 0, pause_seconds = 0, due_at = now(), updated_at = now(), ended_at = NULL
         WHERE id = $1 AND state IN ('running', 'failed')
        RETURNING {COLUMNS}
        """,
        UUID(operation_id),
    )


async def of_tenant(connection: Connection, tenant_id: str) -> list[Operation]:
    """Return all operations of a tenant, the oldest first."""
    rows = await connection.fetch(
        f"SELECT {COLUMNS} FROM operations WHERE tenant_id = $1 ORDER BY created_at", tenant_id
    )
    return [from_row(row) for row in rows]


async def delete_of_tenant(connection: Connection, tenant_id: str, kept_id: str) -> int:
    """Delete the rows of a tenant's operations but one; return how many."""
    rows = await connection.fetch(
        "DELETE FROM operations WHERE tenant_id = $1 AND id <> $2 RETURNING id",
        tenant_id,
        UUID(kept_id),
    )
    return len(rows)


async def delete_ended(connection: Connection, older_than: timedelta, limit: int) -> int:
    """Delete operations that are done or cancelled for so long; return how many.

    Not purges and rollouts: certificates and the history of migrations name them.
    """
    rows = await connection.fetch(
        """
        DELETE FROM operations
         WHERE id IN (
             SELECT id FROM operations
              WHERE state IN ('done', 'cancelled') AND ended_at < now() - $1::interval
                AND kind <> ALL ($2)
              ORDER BY ended_at
              LIMIT $3
         )
        RETURNING id
        """,
        older_than,
        [OperationKind.PURGE_TENANT.value, OperationKind.ROLLOUT.value],
        limit,
    )
    return len(rows)


async def one(connection: Connection, sql: str, *values: object) -> Operation | None:
    """Return the operation of the row that a statement returns, which has COLUMNS."""
    row = await connection.fetchrow(sql, *values)
    return None if row is None else from_row(row)


def from_row(row: asyncpg.Record) -> Operation:
    """Return the operation of a row that has COLUMNS."""
    known = row["progress_unit"] is not None
    return Operation(
        operation_id=str(row["id"]),
        kind=OperationKind(row["kind"]),
        tenant_id=row["tenant_id"],
        request_id=row["request_id"],
        arguments=json.loads(row["arguments"]),
        state=OperationState(row["state"]),
        step=row["step"],
        notes=json.loads(row["notes"]),
        progress=Progress(row["progress_done"], row["progress_total"], row["progress_unit"])
        if known
        else None,
        reason=row["reason"],
        message=row["message"],
        stuck_reason=row["stuck_reason"],
        cancel_requested=row["cancel_requested"],
        user_id=row["user_id"],
        create_time=row["created_at"],
        update_time=row["updated_at"],
        end_time=row["ended_at"],
    )


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
