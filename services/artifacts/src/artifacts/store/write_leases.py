"""The table `artifact_writes`: the write lease of each path.

A lease that is not renewed is taken over: at once if its writer saw the end of its PUT
(`in_flight` is false), after 5 s by a writer of the same bytes, after 30 s by a writer of other
bytes, when a PUT of the first writer must have ended long ago.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg

from artifacts.errors import RunNotFound

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from artifacts.domain.files import WriteTarget
    from dataplane.pools import Connection

SAME_BYTES_SECONDS = 5
OTHER_BYTES_SECONDS = 30

# Whether a lease can be taken over by the row that is to be inserted.
_EXPIRED = f"""(
    NOT artifact_writes.in_flight
    OR artifact_writes.renewed_at < now() - interval '{OTHER_BYTES_SECONDS} seconds'
    OR (artifact_writes.digest = EXCLUDED.digest
        AND artifact_writes.renewed_at < now() - interval '{SAME_BYTES_SECONDS} seconds')
)"""

# Whether a PUT of other bytes than those of the new row may be in flight.
_OTHER_BYTES_IN_FLIGHT = """(
    artifact_writes.doubtful
    OR (artifact_writes.in_flight AND artifact_writes.digest IS DISTINCT FROM EXCLUDED.digest)
)"""


@dataclass(frozen=True, slots=True)
class EarlierPuts:
    """Which PUTs of earlier lease holders may still be in flight."""

    other_bytes: bool
    same_bytes: bool


async def take(
    connection: Connection, writer: UUID, targets: Sequence[WriteTarget]
) -> dict[str, EarlierPuts]:
    """Take the leases of paths of one run that are free or expired; return those taken, by path.

    Raises RunNotFound.
    """
    ordered = sorted(targets, key=lambda target: target.key.path)  # avoids deadlocks of batches
    try:
        rows = await connection.fetch(
            f"""
            INSERT INTO artifact_writes (
                file_path, run_id, digest, writer, renewed_at, in_flight, doubtful
            )
            SELECT file_path, $1, digest, $2, now(), true, false
              FROM unnest($3::text[], $4::text[]) AS target (file_path, digest)
            ON CONFLICT (file_path) DO UPDATE SET
                run_id = EXCLUDED.run_id, digest = EXCLUDED.digest, writer = EXCLUDED.writer,
                renewed_at = EXCLUDED.renewed_at, in_flight = true,
                doubtful = {_OTHER_BYTES_IN_FLIGHT}
             WHERE {_EXPIRED}
            RETURNING file_path, new.doubtful,
                      coalesce(old.in_flight AND old.digest = new.digest, false) AS same_bytes
            """,
            ordered[0].key.run_id,
            writer,
            [target.key.path for target in ordered],
            [target.digest for target in ordered],
        )
    except asyncpg.ForeignKeyViolationError:
        raise RunNotFound(str(ordered[0].key.run_id)) from None
    return {row["file_path"]: EarlierPuts(row["doubtful"], row["same_bytes"]) for row in rows}


async def renew(connection: Connection, writer: UUID, path: str) -> bool:
    """Renew a lease; false if another writer has taken it over."""
    done = await connection.execute(
        "UPDATE artifact_writes SET renewed_at = now() WHERE file_path = $1 AND writer = $2",
        path,
        writer,
    )
    return done == "UPDATE 1"


async def release(connection: Connection, writer: UUID, paths: Sequence[str]) -> None:
    """Let others take over leases at once: no PUT is in flight, though an object may exist."""
    await connection.execute(
        """
        UPDATE artifact_writes SET in_flight = false
         WHERE file_path = ANY($1) AND writer = $2
        """,
        paths,
        writer,
    )


async def delete(connection: Connection, writer: UUID, paths: Sequence[str]) -> None:
    """Delete leases of paths at which there is no object, or a committed file."""
    await connection.execute(
        "DELETE FROM artifact_writes WHERE file_path = ANY($1) AND writer = $2", paths, writer
    )


async def take_expired(
    connection: Connection, writer: UUID, grace_seconds: float, limit: int
) -> list[str]:
    """Take over leases that were not renewed for `grace_seconds`; return their paths."""
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


async def insert_orphans(connection: Connection, paths: Sequence[str]) -> int:
    """Insert expired leases for those paths that have no row of any kind; return how many."""
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


async def any_unfinished(connection: Connection) -> bool:
    """Return whether a write lease or an upload exists."""
    return bool(
        await connection.fetchval(
            "SELECT EXISTS (SELECT FROM artifact_writes) OR EXISTS (SELECT FROM uploads)"
        )
    )
