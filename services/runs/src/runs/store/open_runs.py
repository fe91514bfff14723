"""The table `runs`: runs without a final status, for the reconciler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from runs.domain.runs import RunStatus
from runs.store.events import OPEN, run_event

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from dataplane.pools import Connection


@dataclass(frozen=True, slots=True)
class StaleRun:
    """An open run that has not changed for a while."""

    run_id: str
    epoch: int
    status: RunStatus
    stuck_reason: str


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
             WHERE {OPEN} AND status <> 'paused' AND NOT held AND NOT queued
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


async def work_left(connection: Connection) -> bool:
    """Return whether a run is worked on or to be checked, or a message to be delivered."""
    return bool(
        await connection.fetchval(
            f"""
            SELECT EXISTS (
                       SELECT FROM runs WHERE {OPEN} AND status <> 'paused' AND NOT held
                   )
                OR EXISTS (SELECT FROM outbox)
                OR EXISTS (SELECT FROM usage_checks)
            """
        )
    )
