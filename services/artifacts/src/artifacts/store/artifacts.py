"""The tables `artifacts`, `artifact_chunks` and `lineage`."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import asyncpg

import paging
from artifacts.domain.files import DIGEST_BYTES, Artifact
from artifacts.errors import RunNotFound
from artifacts.store.rows import ARTIFACT_COLUMNS, artifact

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from uuid import UUID

    from artifacts.domain.files import Submission
    from artifacts.domain.keys import ArtifactKey, BucketLayout
    from dataplane.pools import Connection

_ROWS_AT_ONCE = 1000


async def find(connection: Connection, layout: BucketLayout, key: ArtifactKey) -> Artifact | None:
    """Return the committed file of a key, if there is one."""
    sql = f"SELECT {ARTIFACT_COLUMNS} FROM artifacts WHERE file_path = $1"
    row = await connection.fetchrow(sql, key.path)
    return None if row is None else artifact(layout, key.tenant_id, row)


async def find_all(
    connection: Connection, layout: BucketLayout, tenant_id: str, paths: Sequence[str]
) -> dict[str, Artifact]:
    """Return the committed files at these paths, by path."""
    sql = f"SELECT {ARTIFACT_COLUMNS} FROM artifacts WHERE file_path = ANY($1)"
    return _by_path(layout, tenant_id, await connection.fetch(sql, paths))


async def find_by_upload(
    connection: Connection, layout: BucketLayout, tenant_id: str, upload_id: str
) -> Artifact | None:
    """Return the committed file that arrived by an upload, if there is one."""
    sql = f"SELECT {ARTIFACT_COLUMNS} FROM artifacts WHERE upload_id = $1::uuid"
    row = await connection.fetchrow(sql, upload_id)
    return None if row is None else artifact(layout, tenant_id, row)


async def find_around(
    connection: Connection, layout: BucketLayout, tenant_id: str, keys: Sequence[ArtifactKey]
) -> dict[str, Artifact]:
    """Return, by path, the files at these keys, at their parent folders, and one below each key."""
    paths = [path for key in keys for path in (key.path, *key.folders)]
    below = [key.path for key in keys if key.name.startswith("artifacts/")]
    if not below:  # an output.json can have none below: half the cost of the statement that follows
        return await find_all(connection, layout, tenant_id, paths)
    rows = await connection.fetch(
        f"""
        SELECT {ARTIFACT_COLUMNS} FROM artifacts WHERE file_path = ANY($1)
        UNION ALL
        SELECT inside.*
          FROM unnest($2::text[]) AS folder (file_path)
         CROSS JOIN LATERAL (
               SELECT {ARTIFACT_COLUMNS}
                 FROM artifacts
                WHERE artifacts.file_path > folder.file_path || '/'
                  AND artifacts.file_path < folder.file_path || '0' -- what follows / in ASCII
                LIMIT 1) AS inside
        """,
        paths,
        below,
    )
    return _by_path(layout, tenant_id, rows)


async def page(
    connection: Connection, layout: BucketLayout, tenant_id: str, folder: str, size: int, token: str
) -> paging.Page[Artifact]:
    """Return one page of a folder's files, sorted by path."""
    limit = size or paging.DEFAULT_SIZE
    files = f"""
        SELECT {ARTIFACT_COLUMNS}
          FROM artifacts
         WHERE file_path > $1 || coalesce($2, '')
           AND file_path < rtrim($1, '/') || '0' -- what follows / in ASCII
         ORDER BY file_path
         LIMIT $3
        """
    rows = await connection.fetch(
        paging.within_bytes(
            files, "file_path", "octet_length(coalesce(metadata::text, ''))", paging.JSON_PAGE_BYTES
        ),
        folder,
        paging.decode(token, str),
        limit + 1,
    )
    found = tuple(artifact(layout, tenant_id, row) for row in rows[:limit])
    more = bool(rows) and len(found) < rows[0]["rows_found"]
    next_token = paging.encode(found[-1].path.removeprefix(folder)) if more else ""
    return paging.Page(found, next_token)


async def all_by_digest(
    connection: Connection, layout: BucketLayout, tenant_id: str
) -> AsyncGenerator[Artifact, None]:
    """Yield all committed files of a tenant by digest, then by path; inside a transaction."""
    sql = f"""
        SELECT {ARTIFACT_COLUMNS} FROM artifacts ORDER BY digest COLLATE "C", file_path
        """
    async for row in connection.cursor(sql, prefetch=_ROWS_AT_ONCE):
        yield artifact(layout, tenant_id, row)


async def chunk_digests(
    connection: Connection, found: Artifact, first: int, count: int
) -> list[bytes]:
    """Return the sha256 of `count` chunks of a file, from index `first` on."""
    digests = await connection.fetchval(
        """
        SELECT substring(digests FROM $2::int FOR $3::int)
          FROM artifact_chunks
         WHERE artifact_id = $1
        """,
        found.artifact_id,
        first * DIGEST_BYTES + 1,
        count * DIGEST_BYTES,
    )
    if digests is None:
        return [bytes.fromhex(found.digest)]
    starts = range(0, len(digests), DIGEST_BYTES)
    return [digests[start : start + DIGEST_BYTES] for start in starts]


async def commit(
    connection: Connection,
    layout: BucketLayout,
    writer: UUID,
    user_id: str,
    submissions: Sequence[Submission],
    *,
    only_held: bool,
) -> dict[str, Artifact]:
    """Insert the rows of files, delete their leases and append to the audit log.

    Returns the committed files by path. Left out are paths whose lease `writer` has lost and, with
    `only_held`, files of runs that are not held. Raises RunNotFound. It is one statement, audit
    included.
    """
    tenant_id = submissions[0].draft.key.tenant_id
    ordered = sorted(submissions, key=lambda file: file.path)  # as write_leases.take locks them
    records = json.dumps([record(submission) for submission in ordered])
    # An array of their own shows the planner that they are few, so that it uses the index.
    paths = [submission.path for submission in ordered]
    try:
        rows = await connection.fetch(_COMMIT, writer, records, user_id, only_held, paths)
    except asyncpg.ForeignKeyViolationError:
        raise RunNotFound(str(submissions[0].draft.key.run_id)) from None
    return _by_path(layout, tenant_id, rows)


def _by_path(
    layout: BucketLayout, tenant_id: str, rows: Sequence[asyncpg.Record]
) -> dict[str, Artifact]:
    return {row["file_path"]: artifact(layout, tenant_id, row) for row in rows}


_COMMIT = f"""
-- The files to commit, one JSON object each.
WITH submission AS MATERIALIZED (
    SELECT *
      FROM jsonb_to_recordset($2::jsonb) AS submission (
           run_id uuid, step text, name text, file_path text, item int, visit int, file_type text,
           digest text, size_bytes bigint, summary text, metrics jsonb,
           fractional_metrics jsonb, metadata jsonb, upload_id uuid, chunk_digests text,
           source_path text, source_digest text, json_pointer text)
),
-- Their write leases end. A lease that another writer has taken over is not found, nor, for a
-- caller who may only write to held runs ($4), that of a run that was started meanwhile.
ended AS (
    DELETE FROM artifact_writes
     WHERE file_path = ANY($5) AND writer = $1 AND (NOT $4 OR run_is_held(run_id))
    RETURNING file_path
),
-- A row for each file whose lease was found.
committed AS (
    INSERT INTO artifacts (
        run_id, step, name, file_path, item, visit, file_type, digest, size_bytes, summary,
        metrics, fractional_metrics, metadata, upload_id
    )
    SELECT run_id, step, name, file_path, item, visit, file_type, digest, size_bytes, summary,
           metrics, fractional_metrics, metadata, upload_id
      FROM submission JOIN ended USING (file_path)
    RETURNING {ARTIFACT_COLUMNS}
),
-- The digest of each MiB of files that are larger than one.
chunks AS (
    INSERT INTO artifact_chunks (artifact_id, digests)
    SELECT id, decode(chunk_digests, 'base64')
      FROM submission JOIN committed USING (file_path)
     WHERE chunk_digests <> ''
),
-- What a copy was copied from.
copies AS (
    INSERT INTO lineage (child_path, parent_path, parent_digest, json_pointer)
    SELECT file_path, source_path, source_digest, json_pointer
      FROM submission JOIN committed USING (file_path)
     WHERE source_path IS NOT NULL
),
-- The announcements of these files are fulfilled.
arrived AS (
    DELETE FROM uploads
     USING submission JOIN committed USING (file_path)
     WHERE uploads.upload_id = submission.upload_id
)
-- The committed files, each with its audit entry.
SELECT {ARTIFACT_COLUMNS},
       audit_append(
           $3, 'artifact.create', 'artifact', file_path,
           jsonb_build_object('digest', digest, 'size_bytes', size_bytes))
  FROM committed
"""


def record(submission: Submission) -> dict[str, object]:
    """Return a submission as the JSON object that the statements of a commit take."""
    draft, content, source = submission.draft, submission.content, submission.source
    return {
        "run_id": str(draft.key.run_id),
        "step": draft.key.step,
        "name": draft.key.name,
        "file_path": draft.key.path,
        "item": draft.item,
        "visit": draft.visit,
        "file_type": draft.file_type,
        "digest": content.digest,
        "size_bytes": content.size_bytes,
        "summary": draft.summary,
        "metrics": dict(draft.metrics),
        "fractional_metrics": dict(draft.fractional_metrics) or None,
        "metadata": dict(draft.metadata),
        "upload_id": submission.upload_id,
        "chunk_digests": base64.b64encode(content.chunk_digests).decode(),
        "source_path": source.path if source else None,
        "source_digest": source.digest if source else None,
        "json_pointer": source.json_pointer if source else None,
    }
