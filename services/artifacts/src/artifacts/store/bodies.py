"""The table `artifact_bodies`: bytes of committed files that the object store may not have yet.

Until its migration has run for a tenant, `commit` commits nothing, and the table is as if empty.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import asyncpg

from artifacts.domain.files import Artifact
from artifacts.errors import RunNotFound
from artifacts.store.artifacts import record

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from artifacts.domain.files import Submission
    from dataplane.pools import Connection


async def commit(
    connection: Connection,
    writer: UUID,
    user_id: str,
    files: Sequence[tuple[Submission, bytes]],
    *,
    only_held: bool,
) -> tuple[dict[str, Artifact], list[str]]:
    """Insert the rows of files with their bytes and write leases, and append to the audit log.

    Files are of at most one chunk. Returns those committed by path, and the paths of leases without
    a file, which the caller deletes. Left out are paths that have a file or a lease, that need a
    folder where a file lies or are a folder of files and, with `only_held`, files of runs that are
    not held. Raises RunNotFound.
    """
    ordered = sorted(files, key=lambda file: file[0].path)  # as write_leases.take locks them
    drafts = {submission.path: submission for submission, _ in ordered}
    records = [
        record(submission) | {"folders": submission.draft.key.folders} for submission, _ in ordered
    ]
    bodies = [body for _, body in ordered]
    try:
        rows = await connection.fetch(
            _COMMIT, writer, json.dumps(records), user_id, only_held, list(drafts), bodies
        )
    except asyncpg.ForeignKeyViolationError:
        raise RunNotFound(str(ordered[0][0].draft.key.run_id)) from None
    except asyncpg.UndefinedTableError:
        return {}, []
    committed = {
        row["file_path"]: _artifact(drafts[row["file_path"]], row) for row in rows if row["id"]
    }
    return committed, [row["file_path"] for row in rows if not row["id"]]


async def find(connection: Connection, path: str) -> bytes | None:
    """Return the bytes of a committed file, if the object store may not have them yet."""
    try:
        return await connection.fetchval(
            "SELECT body FROM artifact_bodies WHERE file_path = $1", path
        )
    except asyncpg.UndefinedTableError:
        return None


async def find_old(connection: Connection, seconds: float, limit: int) -> dict[str, bytes]:
    """Return bytes, by path, that nobody has put into the object store for so long."""
    try:
        rows = await connection.fetch(
            """
            SELECT file_path, body
              FROM artifact_bodies
             WHERE created_at < now() - make_interval(secs => $1)
             ORDER BY file_path
             LIMIT $2
            """,
            seconds,
            limit,
        )
    except asyncpg.UndefinedTableError:
        return {}
    return {row["file_path"]: row["body"] for row in rows}


async def delete(connection: Connection, paths: Sequence[str]) -> None:
    """Delete the bytes, and the write leases, of committed files that the object store has."""
    await connection.execute(
        """
        -- In the order in which write_leases.take locks them.
        WITH lease AS MATERIALIZED (
            SELECT file_path
              FROM artifact_writes
             WHERE file_path = ANY($1)
             ORDER BY file_path
               FOR UPDATE
        ),
        ended AS (
            DELETE FROM artifact_writes USING lease
             WHERE artifact_writes.file_path = lease.file_path
        )
        DELETE FROM artifact_bodies WHERE file_path = ANY($1)
        """,
        paths,
    )


_COMMIT = """
-- The files to commit, one JSON object each.
WITH submission AS MATERIALIZED (
    SELECT *
      FROM jsonb_to_recordset($2::jsonb) AS submission (
           run_id uuid, step text, name text, file_path text, folders text[], item int, visit int,
           file_type text, digest text, size_bytes bigint, summary text, metrics jsonb,
           fractional_metrics jsonb, metadata jsonb, source_path text, source_digest text,
           json_pointer text)
),
-- A write lease for each path that is free. Whoever else is about to write there, by this statement
-- or by a lease, waits for the row and then finds it; who has a lease already is not disturbed.
leased AS (
    INSERT INTO artifact_writes (
        file_path, run_id, digest, writer, renewed_at, in_flight, doubtful
    )
    SELECT file_path, run_id, digest, $1, now(), true, false
      FROM submission
     WHERE (NOT $4 OR run_is_held(run_id))
       AND NOT EXISTS (
           SELECT FROM artifacts
            WHERE artifacts.file_path = ANY(submission.folders || submission.file_path))
       AND NOT EXISTS (
           SELECT FROM artifacts
            WHERE artifacts.file_path > submission.file_path || '/'
              AND artifacts.file_path < submission.file_path || '0') -- what follows / in ASCII
     ORDER BY file_path
    ON CONFLICT (file_path) DO NOTHING
    RETURNING file_path
),
-- A row for each of them; a file that was committed since the statement began is left as it is.
committed AS (
    INSERT INTO artifacts (
        run_id, step, name, file_path, item, visit, file_type, digest, size_bytes, summary,
        metrics, fractional_metrics, metadata
    )
    SELECT run_id, step, name, file_path, item, visit, file_type, digest, size_bytes, summary,
           metrics, fractional_metrics, metadata
      FROM submission JOIN leased USING (file_path)
    ON CONFLICT (file_path) DO NOTHING
    RETURNING id, file_path, digest, size_bytes, created_at
),
-- Their bytes.
kept AS (
    INSERT INTO artifact_bodies (file_path, body)
    SELECT file_path, body
      FROM unnest($5::text[], $6::bytea[]) AS file (file_path, body)
      JOIN committed USING (file_path)
),
-- What a copy was copied from.
copies AS (
    INSERT INTO lineage (child_path, parent_path, parent_digest, json_pointer)
    SELECT file_path, source_path, source_digest, json_pointer
      FROM submission JOIN committed USING (file_path)
     WHERE source_path IS NOT NULL
)
-- The leases, each with its file if it is committed, and its audit entry.
SELECT file_path, id, created_at,
       CASE WHEN id IS NOT NULL THEN
           audit_append(
               $3, 'artifact.create', 'artifact', file_path,
               jsonb_build_object('digest', digest, 'size_bytes', size_bytes))
       END
  FROM leased LEFT JOIN committed USING (file_path)
"""


def _artifact(submission: Submission, row: asyncpg.Record) -> Artifact:
    content = submission.content
    return Artifact(
        row["id"], submission.draft, content.digest, content.size_bytes, row["created_at"]
    )
