"""The table `audit_logs`, of a tenant's database or of the management database."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

import asyncpg

from dataplane import audit, paging
from tenant.domain.audit import AuditLog

if TYPE_CHECKING:
    from dataplane.pools import Connection


async def chain(connection: Connection) -> None:
    """Chain what is committed, so that it is read; not in a database that is behind."""
    with contextlib.suppress(asyncpg.UndefinedFunctionError):
        await audit.chain_all(connection)


async def page(connection: Connection, size: int, token: str) -> paging.Page[AuditLog]:
    """Return one page of a database's audit log, newest entry first."""
    limit = size or paging.DEFAULT_SIZE
    rows = await connection.fetch(
        """
        SELECT sequence, user_id, action, resource_type, resource_id, details, database_role,
               created_at, digest
          FROM audit_logs
         WHERE $1::bigint IS NULL OR sequence < $1
         ORDER BY sequence DESC
         LIMIT $2
        """,
        paging.decode(token),
        limit + 1,
    )
    return paging.page(rows, limit, _audit_log, "sequence")


def _audit_log(row: asyncpg.Record) -> AuditLog:
    return AuditLog(
        sequence=row["sequence"],
        user_id=row["user_id"],
        action=row["action"],
        resource_type=row["resource_type"],
        resource_id=row["resource_id"],
        details=None if row["details"] is None else json.loads(row["details"]),
        database_role=row["database_role"],
        create_time=row["created_at"],
        digest=row["digest"],
    )
