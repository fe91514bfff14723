"""The tables `artifacts`, `artifact_chunks` and `lineage`."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import asyncpg

from artifacts.domain.files import DIGEST_BYTES, Artifact
from artifacts.errors import RunNotFound
from artifacts.store.rows import ARTIFACT_COLUMNS, artifact
from dataplane import paging

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from artifacts.domain.files import Submission
    from artifacts.domain.keys import Key, KeySpace
    from dataplane.pools import Connection


class ArtifactStore:
    def __init__(self, keys: KeySpace) -> None:
        self._keys = keys

    async def find(self, connection: Connection, key: Key) -> Artifact | None:
        sql = f"SELECT {ARTIFACT_COLUMNS} FROM artifacts WHERE file_path = $1"
        row = await connection.fetchrow(sql, key.path)
        return None if row is None else artifact(self._keys, key.tenant_id, row)

    async def find_all(
        self, connection: Connection, tenant_id: str, paths: Sequence[str]
    ) -> dict[str, Artifact]:
        """Return the files that are committed at these paths, by path."""
        sql = f"SELECT {ARTIFACT_COLUMNS} FROM artifacts WHERE file_path = ANY($1)"
        return self._by_path(tenant_id, await connection.fetch(sql, paths))

    async def find_by_upload(
        self, connection: Connection, tenant_id: str, upload_id: str
    ) -> Artifact | None:
        sql = f"SELECT {ARTIFACT_COLUMNS} FROM artifacts WHERE upload_id = $1::uuid"
        row = await connection.fetchrow(sql, upload_id)
        return None if row is None else artifact(self._keys, tenant_id, row)

    async def find_around(
        self, connection: Connection, tenant_id: str, keys: Sequence[Key]
    ) -> dict[str, Artifact]:
        """Return the files at these places, at folders that lead there, and one inside each."""
        paths = [path for key in keys for path in (key.path, *key.folders)]
        beneath = [key.path for key in keys if key.name.startswith("artifacts/")]
        if not beneath:  # as with every output: half of what the statement below costs
            return await self.find_all(connection, tenant_id, paths)
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
            beneath,
        )
        return self._by_path(tenant_id, rows)

    async def page(
        self, connection: Connection, tenant_id: str, folder: str, size: int, token: str
    ) -> paging.Page[Artifact]:
        """Return one page of a folder's files, by path."""
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
                files,
                "file_path",
                "octet_length(coalesce(metadata::text, ''))",
                paging.JSON_PAGE_BYTES,
            ),
            folder,
            paging.decode(token, str),
            limit + 1,
        )
        found = tuple(artifact(self._keys, tenant_id, row) for row in rows[:limit])
        more = bool(rows) and len(found) < rows[0]["rows_found"]
        next_token = paging.encode(found[-1].path.removeprefix(folder)) if more else ""
        return paging.Page(found, next_token)

    async def chunk_digests(
        self, connection: Connection, found: Artifact, first: int, count: int
    ) -> list[bytes]:
        """Return the digests of a file's chunks, from the one with number `first` on."""
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
        self,
        connection: Connection,
        writer: UUID,
        user_id: str,
        submissions: Sequence[Submission],
        *,
        only_held: bool,
    ) -> dict[str, Artifact]:
        """Give files their rows, end their writes and record who did it; return them by path.

        A path that `writer` no longer holds is left out; `only_held` also leaves out a file whose
        run does not wait for its input. Raises RunNotFound. It is one statement, audit included,
        because whoever appends to the audit log holds up all others of the tenant until his
        transaction ends.
        """
        tenant_id = submissions[0].draft.key.tenant_id
        ordered = sorted(submissions, key=lambda file: file.path)  # as WriteStore.take locks them
        records = json.dumps([_record(submission) for submission in ordered])
        # Their own array, by which the planner sees that they are few, and goes by the index.
        paths = [submission.path for submission in ordered]
        try:
            rows = await connection.fetch(_COMMIT, writer, records, user_id, only_held, paths)
        except asyncpg.ForeignKeyViolationError:
            raise RunNotFound(str(submissions[0].draft.key.run_id)) from None
        return self._by_path(tenant_id, rows)

    def _by_path(self, tenant_id: str, rows: Sequence[asyncpg.Record]) -> dict[str, Artifact]:
        return {row["file_path"]: artifact(self._keys, tenant_id, row) for row in rows}


_COMMIT = f"""
WITH submission AS MATERIALIZED (
    SELECT *
      FROM jsonb_to_recordset($2::jsonb) AS submission (
           run_id uuid, step text, name text, file_path text, item int, visit int, file_type text,
           digest text, size_bytes bigint, summary text, metrics jsonb,
           fractional_metrics jsonb, metadata jsonb, upload_id uuid, chunk_digests text,
           source_path text, source_digest text, json_pointer text)
), ended AS (
    DELETE FROM artifact_writes
     WHERE file_path = ANY($5) AND writer = $1 AND (NOT $4 OR run_is_held(run_id))
    RETURNING file_path
), committed AS (
    INSERT INTO artifacts (
        run_id, step, name, file_path, item, visit, file_type, digest, size_bytes, summary,
        metrics, fractional_metrics, metadata, upload_id
    )
    SELECT run_id, step, name, file_path, item, visit, file_type, digest, size_bytes, summary,
           metrics, fractional_metrics, metadata, upload_id
      FROM submission JOIN ended USING (file_path)
    RETURNING {ARTIFACT_COLUMNS}
), chunks AS (
    INSERT INTO artifact_chunks (artifact_id, digests)
    SELECT id, decode(chunk_digests, 'base64')
      FROM submission JOIN committed USING (file_path)
     WHERE chunk_digests <> ''
), copies AS (
    INSERT INTO lineage (child_path, parent_path, parent_digest, json_pointer)
    SELECT file_path, source_path, source_digest, json_pointer
      FROM submission JOIN committed USING (file_path)
     WHERE source_path IS NOT NULL
), arrived AS (
    DELETE FROM uploads
     USING submission JOIN committed USING (file_path)
     WHERE uploads.upload_id = submission.upload_id
)
SELECT {ARTIFACT_COLUMNS},
       audit_append(
           $3, 'artifact.create', 'artifact', file_path,
           jsonb_build_object('digest', digest, 'size_bytes', size_bytes))
  FROM committed
"""


def _record(submission: Submission) -> dict[str, object]:
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
