"""The table `backups`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

import paging
from tenant.domain.backups import Backup, BackupKind, BackupState, VerificationState

if TYPE_CHECKING:
    from datetime import timedelta

    import asyncpg

    from dataplane.pools import Connection
    from tenant.domain.backups import Manifest

_COLUMNS = (
    "id, tenant_id, folder, state, kind, created_at, snapshot_at, expires_at, row_count,"
    " dump_bytes, object_count, object_bytes, new_object_bytes, manifest_digest, verification,"
    " verified_at, verification_problem"
)


async def insert(
    connection: Connection,
    backup_id: str,
    tenant_id: str,
    folder: str,
    kind: BackupKind,
    keep_for: timedelta | None,
) -> Backup:
    """Insert a backup that is to be made, unless it is there; return it."""
    row = await connection.fetchrow(
        f"""
        INSERT INTO backups (id, tenant_id, folder, state, kind, expires_at)
        VALUES ($1::uuid, $2, $3, 'creating', $4, now() + $5::interval)
        ON CONFLICT (id) DO UPDATE SET folder = backups.folder
        RETURNING {_COLUMNS}
        """,
        backup_id,
        tenant_id,
        folder,
        kind.value,
        keep_for,
    )
    if row is None:
        raise LookupError("an upsert has returned no row")
    return _backup(row)


async def find(connection: Connection, tenant_id: str, backup_id: str) -> Backup | None:
    """Return a backup of a tenant that is not deleted."""
    row = await connection.fetchrow(
        f"""
        SELECT {_COLUMNS} FROM backups
         WHERE id = $1::uuid AND tenant_id = $2 AND kind <> 'clone'
        """,
        backup_id,
        tenant_id,
    )
    return None if row is None else _backup(row)


async def get(connection: Connection, backup_id: str) -> Backup | None:
    """Return a backup of any kind, whosever it is."""
    row = await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM backups WHERE id = $1::uuid", backup_id
    )
    return None if row is None else _backup(row)


async def page(
    connection: Connection, tenant_id: str, size: int, token: str
) -> paging.Page[Backup]:
    """Return one page of a tenant's backups, the newest first."""
    limit = size or paging.DEFAULT_SIZE
    before = paging.decode(token, datetime, UUID) or (None, None)
    rows = await connection.fetch(
        f"""
        SELECT {_COLUMNS} FROM backups
         WHERE tenant_id = $1 AND kind <> 'clone'
           AND ($2::timestamptz IS NULL OR (created_at, id) < ($2, $3))
         ORDER BY created_at DESC, id DESC
         LIMIT $4
        """,
        tenant_id,
        *before,
        limit + 1,
    )
    return paging.page(rows, limit, _backup, "created_at", "id")


async def complete(
    connection: Connection,
    backup_id: str,
    manifest: Manifest,
    manifest_digest: str,
    new_object_bytes: int,
) -> None:
    """Record that a backup is whole."""
    await connection.execute(
        """
        UPDATE backups
           SET state = 'complete', snapshot_at = $2, row_count = $3, dump_bytes = $4,
               object_count = $5, object_bytes = $6, new_object_bytes = $7, manifest_digest = $8
         WHERE id = $1::uuid AND state = 'creating'
        """,
        backup_id,
        datetime.fromisoformat(manifest.snapshot_time),
        sum(table.rows for table in manifest.content.tables),
        manifest.dump.size_bytes,
        manifest.object_count,
        manifest.object_bytes,
        new_object_bytes,
        manifest_digest,
    )


async def record_verification(connection: Connection, backup_id: str, problem: str) -> None:
    """Record what a verification has found: a problem, or none when it is empty."""
    state = VerificationState.FAILED if problem else VerificationState.PASSED
    await connection.execute(
        """
        UPDATE backups
           SET verification = $2, verified_at = now(), verification_problem = $3
         WHERE id = $1::uuid
        """,
        backup_id,
        state.value,
        problem,
    )


async def mark_deleting(connection: Connection, backup_id: str) -> bool:
    """Mark a backup as being deleted; return whether it is there."""
    done = await connection.execute(
        "UPDATE backups SET state = 'deleting' WHERE id = $1::uuid", backup_id
    )
    return done == "UPDATE 1"


async def delete(connection: Connection, backup_id: str) -> None:
    """Delete the row of a backup whose files are gone."""
    await connection.execute("DELETE FROM backups WHERE id = $1::uuid", backup_id)


async def of_folder(connection: Connection, folder: str) -> list[Backup]:
    """Return the backups whose files lie in a folder, oldest first."""
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM backups WHERE folder = $1 ORDER BY created_at, id", folder
    )
    return [_backup(row) for row in rows]


async def of_tenant(connection: Connection, tenant_id: str) -> list[Backup]:
    """Return all backups of a tenant, oldest first."""
    rows = await connection.fetch(
        f"""
        SELECT {_COLUMNS} FROM backups WHERE tenant_id = $1
         ORDER BY created_at, id
        """,
        tenant_id,
    )
    return [_backup(row) for row in rows]


async def to_delete(connection: Connection, limit: int) -> list[Backup]:
    """Return backups that have expired, or whose deletion has begun.

    Of those that a schedule has made its newest complete ones are kept, as many as it says; of a
    tenant that has no schedule any more, one. They come in no order: some that cannot be deleted
    must not be in the way of the others for ever.
    """
    rows = await connection.fetch(
        f"""
        SELECT {_COLUMNS} FROM backups
         WHERE state = 'deleting'
            OR (state = 'complete' AND expires_at <= now()
                AND (kind <> 'scheduled'
                     OR id NOT IN (
                        SELECT newer.id FROM backups AS newer
                         WHERE newer.tenant_id = backups.tenant_id AND newer.kind = 'scheduled'
                           AND newer.state = 'complete'
                         ORDER BY newer.created_at DESC, newer.id DESC
                         LIMIT coalesce((SELECT keep_count FROM backup_schedules AS schedule
                                          WHERE schedule.tenant_id = backups.tenant_id), 1))))
         ORDER BY random()
         LIMIT $1
        """,
        limit,
    )
    return [_backup(row) for row in rows]


async def in_use(connection: Connection, backup_id: str) -> bool:
    """Return whether an operation makes, restores or verifies a backup."""
    return bool(
        await connection.fetchval(
            """
            SELECT EXISTS (
                SELECT FROM operations
                 WHERE state = 'running'
                   AND (id = $1::uuid OR arguments ->> 'backup_id' = $1::uuid::text))
            """,
            backup_id,
        )
    )


def _backup(row: asyncpg.Record) -> Backup:
    return Backup(
        backup_id=str(row["id"]),
        tenant_id=row["tenant_id"],
        folder=row["folder"],
        state=BackupState(row["state"]),
        kind=BackupKind(row["kind"]),
        create_time=row["created_at"],
        snapshot_time=row["snapshot_at"],
        expire_time=row["expires_at"],
        row_count=row["row_count"],
        dump_bytes=row["dump_bytes"],
        object_count=row["object_count"],
        object_bytes=row["object_bytes"],
        new_object_bytes=row["new_object_bytes"],
        manifest_digest=row["manifest_digest"],
        verification=VerificationState(row["verification"]),
        verify_time=row["verified_at"],
        verification_problem=row["verification_problem"],
    )
