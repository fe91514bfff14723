"""The table `uploads`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import asyncpg

from artifacts.domain.files import Upload
from artifacts.errors import RunNotFound
from artifacts.store.rows import draft

if TYPE_CHECKING:
    from artifacts.domain.files import Draft
    from artifacts.domain.keys import BucketLayout
    from dataplane.pools import Connection

_COLUMNS = (
    "upload_id, file_path, item, visit, file_type, digest, size_bytes, summary, metrics,"
    " fractional_metrics, metadata, expires_at"
)

_UPSERT = f"""
INSERT INTO uploads (
    run_id, step, name, file_path, item, visit, file_type, digest, size_bytes,
    summary, metrics, fractional_metrics, metadata, expires_at
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::jsonb, $12::jsonb, $13::jsonb,
        now() + make_interval(secs => $14))
ON CONFLICT ON CONSTRAINT uploads_announcement_key DO UPDATE SET
    item = EXCLUDED.item, visit = EXCLUDED.visit,
    file_type = EXCLUDED.file_type, size_bytes = EXCLUDED.size_bytes,
    summary = EXCLUDED.summary, metrics = EXCLUDED.metrics,
    fractional_metrics = EXCLUDED.fractional_metrics,
    metadata = EXCLUDED.metadata, expires_at = EXCLUDED.expires_at
RETURNING {_COLUMNS}
"""


async def upsert(
    connection: Connection,
    layout: BucketLayout,
    new: Draft,
    digest: str,
    size_bytes: int,
    seconds: float,
) -> Upload:
    """Insert an upload that expires in `seconds`, or update that of the same path and digest.

    Raises RunNotFound.
    """
    try:
        row = await connection.fetchrow(
            _UPSERT,
            new.key.run_id,
            new.key.step,
            new.key.name,
            new.key.path,
            new.item,
            new.visit,
            new.file_type,
            digest,
            size_bytes,
            new.summary,
            json.dumps(dict(new.metrics)),
            json.dumps(dict(new.fractional_metrics)) if new.fractional_metrics else None,
            json.dumps(dict(new.metadata)),
            seconds,
        )
    except asyncpg.ForeignKeyViolationError:
        raise RunNotFound(str(new.key.run_id)) from None
    return _upload(layout, new.key.tenant_id, row)


async def find(
    connection: Connection, layout: BucketLayout, tenant_id: str, upload_id: str
) -> Upload | None:
    """Return an upload that has not expired."""
    row = await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM uploads WHERE upload_id = $1::uuid AND expires_at > now()",
        upload_id,
    )
    return None if row is None else _upload(layout, tenant_id, row)


async def delete_expired(connection: Connection) -> int:
    """Delete uploads whose bytes have not arrived in time; return how many."""
    done = await connection.execute("DELETE FROM uploads WHERE expires_at <= now()")
    return int(done.rpartition(" ")[2])


def _upload(layout: BucketLayout, tenant_id: str, row: asyncpg.Record | None) -> Upload:
    assert row is not None  # noqa: S101 - RETURNING of an upsert gives a row
    return Upload(
        upload_id=str(row["upload_id"]),
        draft=draft(layout, tenant_id, row),
        digest=row["digest"],
        size_bytes=row["size_bytes"],
        expire_time=row["expires_at"],
    )
