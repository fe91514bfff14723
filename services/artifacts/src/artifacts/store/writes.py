"""The table `artifact_writes`: who may put bytes at a path.

A write is held as long as its writer renews it. One that has not been renewed is taken over: at
once when its writer saw the end of its request to the store, soon by a writer of the same bytes,
and by a writer of other bytes only when any request of the first must have ended long ago.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg

from artifacts.errors import RunNotFound

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from artifacts.domain.keys import Key
    from dataplane.pools import Connection

SAME_BYTES_SECONDS = 5
OTHER_BYTES_SECONDS = 30

_FREE = f"""(
    NOT artifact_writes.in_flight
    OR artifact_writes.renewed_at < now() - interval '{OTHER_BYTES_SECONDS} seconds'
    OR (artifact_writes.digest = EXCLUDED.digest
        AND artifact_writes.renewed_at < now() - interval '{SAME_BYTES_SECONDS} seconds')
)"""

_OTHER_ON_THE_WAY = """(
    artifact_writes.doubtful
    OR (artifact_writes.in_flight AND artifact_writes.digest IS DISTINCT FROM EXCLUDED.digest)
)"""


@dataclass(frozen=True, slots=True)
class Wish:
    """A path that somebody wants to write, and the bytes that are to lie there."""

    key: Key
    digest: str


@dataclass(frozen=True, slots=True)
class Hold:
    """What is known of a path that is held now, from the writers before."""

    doubtful: bool
    """Whether other bytes may be on their way to the store still."""
    inherited: bool
    """Whether the same bytes may."""


class WriteStore:
    async def take(
        self, connection: Connection, writer: UUID, wishes: Sequence[Wish]
    ) -> dict[str, Hold]:
        """Hold the paths of one run that are free, for `writer`. Raises RunNotFound."""
        ordered = sorted(wishes, key=lambda wish: wish.key.path)  # two batches never lock crosswise
        try:
            rows = await connection.fetch(
                f"""
                INSERT INTO artifact_writes (
                    file_path, run_id, digest, writer, renewed_at, in_flight, doubtful
                )
                SELECT file_path, $1, digest, $2, now(), true, false
                  FROM unnest($3::text[], $4::text[]) AS wish (file_path, digest)
                ON CONFLICT (file_path) DO UPDATE SET
                    run_id = EXCLUDED.run_id, digest = EXCLUDED.digest, writer = EXCLUDED.writer,
                    renewed_at = EXCLUDED.renewed_at, in_flight = true,
                    doubtful = {_OTHER_ON_THE_WAY}
                 WHERE {_FREE}
                RETURNING file_path, new.doubtful,
                          coalesce(old.in_flight AND old.digest = new.digest, false) AS inherited
                """,
                ordered[0].key.run_id,
                writer,
                [wish.key.path for wish in ordered],
                [wish.digest for wish in ordered],
            )
        except asyncpg.ForeignKeyViolationError:
            raise RunNotFound(str(ordered[0].key.run_id)) from None
        return {row["file_path"]: Hold(row["doubtful"], row["inherited"]) for row in rows}

    async def renew(self, connection: Connection, writer: UUID, path: str) -> bool:
        """Hold a path on; false when somebody else has taken it."""
        done = await connection.execute(
            "UPDATE artifact_writes SET renewed_at = now() WHERE file_path = $1 AND writer = $2",
            path,
            writer,
        )
        return done == "UPDATE 1"

    async def release(self, connection: Connection, writer: UUID, paths: Sequence[str]) -> None:
        """Let go of paths at which something may lie, though nothing is on its way any more."""
        await connection.execute(
            """
            UPDATE artifact_writes SET in_flight = false
             WHERE file_path = ANY($1) AND writer = $2
            """,
            paths,
            writer,
        )

    async def forget(self, connection: Connection, writer: UUID, paths: Sequence[str]) -> None:
        """Let go of paths at which nothing lies but what has its row."""
        await connection.execute(
            "DELETE FROM artifact_writes WHERE file_path = ANY($1) AND writer = $2", paths, writer
        )

    async def take_stale(
        self, connection: Connection, writer: UUID, grace_seconds: float, limit: int
    ) -> list[str]:
        """Hold paths whose writers have not been heard of for `grace_seconds`; return them."""
        rows = await connection.fetch(
            """
            UPDATE artifact_writes
               SET writer = $1, digest = NULL, renewed_at = now(), in_flight = true,
                   doubtful = doubtful OR in_flight
             WHERE file_path IN (
                   SELECT file_path
                     FROM artifact_writes
                    WHERE renewed_at < now() - make_interval(secs => $2)
                    ORDER BY renewed_at
                    LIMIT $3
                      FOR UPDATE SKIP LOCKED)
            RETURNING file_path
            """,
            writer,
            max(grace_seconds, OTHER_BYTES_SECONDS),
            limit,
        )
        return [row["file_path"] for row in rows]

    async def note_orphans(self, connection: Connection, paths: Sequence[str]) -> int:
        """Make writes that nobody finishes out of objects without any row; return how many."""
        done = await connection.execute(
            """
            INSERT INTO artifact_writes (file_path, writer, renewed_at, in_flight, doubtful)
            SELECT file_path, gen_random_uuid(), '-infinity', false, false
              FROM unnest($1::text[]) AS object (file_path)
             WHERE NOT EXISTS (SELECT FROM artifacts WHERE artifacts.file_path = object.file_path)
            ON CONFLICT (file_path) DO NOTHING
            """,
            paths,
        )
        return int(done.rpartition(" ")[2])

    async def any_left(self, connection: Connection) -> bool:
        """Tell whether a write or an upload has not come to its end."""
        return bool(
            await connection.fetchval(
                "SELECT EXISTS (SELECT FROM artifact_writes) OR EXISTS (SELECT FROM uploads)"
            )
        )
