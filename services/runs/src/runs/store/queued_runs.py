"""The table `runs`: runs that wait for their turn.

A tenant has so many runs under way at once on each task queue; more of them stay in its database,
and start in their order once others have ended. What counts is rows, so nothing is left behind by
a process that dies. Runs that are created at the same instant do not see each other, so there may
be a few more than the limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runs.store.events import OPEN, run_event

if TYPE_CHECKING:
    from dataplane.pools import Connection

_UNDER_WAY = f"""
    {OPEN} AND status <> 'paused' AND NOT held AND NOT queued
    -- runs that wait for a person need nothing of a worker
    AND NOT EXISTS (
        SELECT FROM approvals WHERE run_id = working.id AND approvals.state = 'open'
    )
"""


def has_to_wait(task_queue: str, most: str) -> str:
    """Return the condition that another run has to wait for its turn.

    It reads as many rows as may be under way, at most: of a tenant with few runs, few. `task_queue`
    and `most` are expressions for the run's task queue and for how many may be under way.
    """
    return f"""(
        EXISTS (
            SELECT FROM runs AS waiting
             WHERE waiting.queued AND {OPEN} AND waiting.task_queue = {task_queue}
        )
        OR (
            SELECT count(*) >= {most}
              FROM (
                   SELECT FROM runs AS working
                    WHERE working.task_queue = {task_queue} AND {_UNDER_WAY}
                    LIMIT {most}
              ) AS counted
        )
    )"""


async def find_task_queues(connection: Connection) -> tuple[str, ...]:
    """Return the task queues for which runs wait."""
    rows = await connection.fetch(f"SELECT DISTINCT task_queue FROM runs WHERE queued AND {OPEN}")
    return tuple(row["task_queue"] for row in rows)


async def admit(connection: Connection, task_queue: str, most: int) -> bool:
    """Have as many of the runs that wait started as there is room for, the oldest first.

    Each gets its message in the outbox, which is due now. In a transaction. Returns whether runs
    are left that wait; where another process does the same at this moment it does it alone.
    """
    if not await connection.fetchval(
        "SELECT pg_try_advisory_xact_lock(hashtextextended('runs.queued', 0))"
    ):
        return True
    await connection.execute(_ADMIT, task_queue, most)
    return await connection.fetchval(
        f"SELECT EXISTS (SELECT FROM runs WHERE queued AND {OPEN} AND task_queue = $1)", task_queue
    )


_ADMIT = f"""
WITH under_way AS (
    SELECT count(*) AS runs FROM runs AS working
     WHERE working.task_queue = $1 AND {_UNDER_WAY}
),
-- whose turn it is
next AS (
    SELECT id FROM runs
     WHERE queued AND {OPEN} AND task_queue = $1
     ORDER BY created_at, id
     LIMIT (SELECT greatest($2 - runs, 0) FROM under_way)
       FOR NO KEY UPDATE SKIP LOCKED
),
updated AS (
    UPDATE runs SET queued = false, updated_at = now(), last_seq = last_seq + 1
      FROM next
     WHERE runs.id = next.id
    RETURNING runs.*
),
start AS (
    INSERT INTO outbox (run_id, kind)
    SELECT id, 'start' FROM updated ORDER BY created_at, id
    ON CONFLICT (run_id, kind) DO UPDATE SET due_at = EXCLUDED.due_at
)
{run_event("updated")}
"""
