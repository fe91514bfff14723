"""The table `runs`: runs without a final status, for the reconciler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from runs.domain.runs import RunStatus
from runs.store.events import OPEN, QUEUED, UNDER_WAY, run_event

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from dataplane.pools import Connection


@dataclass(frozen=True, slots=True)
class StaleRun:
    """An open run that has not changed for a while."""

    run_id: str
    epoch: int
    status: RunStatus
    stuck_reason: str


OPEN_STATUSES = ("pending", "running", "paused")


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is left to do for a tenant."""

    runs: Mapping[str, int]
    """Its open runs, by status."""
    stuck: int
    """How many of these tell why they do not move."""
    messages: int
    """What the outbox holds."""
    oldest_seconds: float
    """The age of the oldest message that was to be delivered before, in vain; 0 without one."""


async def claim_stale(
    connection: Connection, stale_after: timedelta, limit: int
) -> tuple[StaleRun, ...]:
    """Claim runs that are worked on and have neither changed nor been checked for so long, longest
    first.
    """
    rows = await connection.fetch(
        f"""
        WITH stale AS (
            SELECT id FROM runs
             WHERE {UNDER_WAY}
               AND greatest(updated_at, checked_at) < now() - $1::interval
             ORDER BY greatest(updated_at, checked_at), id
             LIMIT $2
               FOR NO KEY UPDATE SKIP LOCKED
        )
        UPDATE runs SET checked_at = now()
          FROM stale
         WHERE runs.id = stale.id
        RETURNING runs.id, runs.epoch, runs.status, coalesce(runs.stuck_reason, '') AS stuck_reason
        """,
        stale_after,
        limit,
    )
    return tuple(
        StaleRun(str(row["id"]), row["epoch"], RunStatus(row["status"]), row["stuck_reason"])
        for row in rows
    )


async def note_stuck(connection: Connection, run_ids: Sequence[str], reason: str) -> None:
    """Note why runs do not move, or that they do when `reason` is empty, with an event each."""
    await connection.execute(
        f"""
        WITH updated AS (
            UPDATE runs
               SET stuck_reason = nullif($2, ''), last_seq = last_seq + 1
             WHERE id = ANY($1) AND {OPEN} AND coalesce(stuck_reason, '') <> $2
            RETURNING *
        )
        {run_event("updated")}
        """,
        list(map(UUID, run_ids)),
        reason,
    )


async def any_work_left(connection: Connection) -> bool:
    """Return whether a run is worked on, waits for its turn or is to be checked, or a message is
    to be delivered.
    """
    return await connection.fetchval(
        f"""
        SELECT EXISTS (SELECT FROM runs WHERE {UNDER_WAY})
            OR EXISTS (SELECT FROM runs WHERE {QUEUED})
            OR EXISTS (SELECT FROM outbox)
            OR EXISTS (SELECT FROM usage_checks)
        """
    )


async def find_backlog(connection: Connection) -> Backlog:
    """Return what is left to do for the tenant. It reads every open run and every message."""
    row = await connection.fetchrow(
        f"""
        SELECT pending, running, paused, stuck, messages, oldest_seconds::float8
          FROM (SELECT count(*) FILTER (WHERE status = 'pending') AS pending,
                       count(*) FILTER (WHERE status = 'running') AS running,
                       count(*) FILTER (WHERE status = 'paused') AS paused,
                       count(stuck_reason) AS stuck
                  FROM runs WHERE {OPEN}) AS open_runs,
               (SELECT count(*) AS messages,
                       coalesce(extract(epoch FROM now() - min(created_at)
                                            FILTER (WHERE attempts > 0)), 0) AS oldest_seconds
                  FROM outbox) AS waiting
        """
    )
    assert row is not None  # noqa: S101 - it returns one
    runs = {status: row[status] for status in OPEN_STATUSES}
    return Backlog(runs, row["stuck"], row["messages"], row["oldest_seconds"])
