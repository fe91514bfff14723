"""The table `backup_schedules`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenant.domain.backups import BackupSchedule

if TYPE_CHECKING:
    from datetime import timedelta

    import asyncpg

    from dataplane.pools import Connection

_COLUMNS = "tenant_id, every, keep_count, keep_for, verify, user_id, next_at, last_operation_id"


async def upsert(
    connection: Connection,
    tenant_id: str,
    interval: timedelta,
    keep_count: int,
    keep_for: timedelta,
    user_id: str,
    *,
    verify: bool,
) -> BackupSchedule:
    """Set a tenant's schedule; the next backup is due now unless one was made by it before."""
    row = await connection.fetchrow(
        f"""
        INSERT INTO backup_schedules AS schedule
            (tenant_id, every, keep_count, keep_for, verify, user_id, next_at)
        VALUES ($1, $2, $3, $4, $5, $6, now())
        ON CONFLICT (tenant_id) DO UPDATE
           SET every = excluded.every, keep_count = excluded.keep_count,
               keep_for = excluded.keep_for, verify = excluded.verify,
               user_id = excluded.user_id,
               next_at = schedule.next_at - schedule.every + excluded.every
        RETURNING {_COLUMNS}
        """,
        tenant_id,
        interval,
        keep_count,
        keep_for,
        verify,
        user_id,
    )
    if row is None:
        raise LookupError("an upsert has returned no row")
    return _schedule(row)


async def find(connection: Connection, tenant_id: str) -> BackupSchedule | None:
    sql = f"SELECT {_COLUMNS} FROM backup_schedules WHERE tenant_id = $1"
    row = await connection.fetchrow(sql, tenant_id)
    return None if row is None else _schedule(row)


async def delete(connection: Connection, tenant_id: str) -> bool:
    """Delete a tenant's schedule; return whether it had one."""
    done = await connection.execute("DELETE FROM backup_schedules WHERE tenant_id = $1", tenant_id)
    return done == "DELETE 1"


async def claim_due(connection: Connection) -> BackupSchedule | None:
    """Return a schedule of an active tenant that is due, locked until the transaction ends.

    Not of a tenant whose server is lost: each backup would fail. Of those that other processes have
    claimed none is returned, so each backup is begun once.
    """
    row = await connection.fetchrow(
        f"""
        SELECT {_COLUMNS} FROM backup_schedules
         WHERE next_at <= now()
           AND EXISTS (SELECT FROM tenants JOIN db_servers ON db_servers.id = tenants.server_id
                        WHERE tenants.id = backup_schedules.tenant_id AND tenants.is_active
                          AND db_servers.state <> 'lost')
         ORDER BY next_at
         LIMIT 1
           FOR UPDATE SKIP LOCKED
        """
    )
    return None if row is None else _schedule(row)


async def advance(connection: Connection, tenant_id: str, operation_id: str) -> None:
    """Record the operation that was begun, and when the next one is due: later than now."""
    await connection.execute(
        """
        UPDATE backup_schedules
           SET last_operation_id = $2::uuid,
               next_at = next_at + every * ceil(
                   extract(epoch FROM now() - next_at + interval '1 microsecond')
                   / extract(epoch FROM every))
         WHERE tenant_id = $1
        """,
        tenant_id,
        operation_id,
    )


def _schedule(row: asyncpg.Record) -> BackupSchedule:
    operation = row["last_operation_id"]
    return BackupSchedule(
        tenant_id=row["tenant_id"],
        interval=row["every"],
        keep_count=row["keep_count"],
        keep_for=row["keep_for"],
        verify=row["verify"],
        user_id=row["user_id"],
        next_time=row["next_at"],
        last_operation_id="" if operation is None else str(operation),
    )
