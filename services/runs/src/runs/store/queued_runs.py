"""The table `runs`: runs that wait for their turn.

A tenant has so many runs under way at once on each task queue; more of them stay in its database,
and start in their order once others have ended. What counts is rows, so nothing is left behind by
a process that dies. Runs that are created at the same instant do not see each other, so there may
be a few more than the limit.

Runs that wait for a person need nothing of a worker, and are not counted. Those that a relay has
marked are not read either (`runs.in_question`); the next transition of any of their steps unmarks
them.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import asyncpg

from runs.store.events import QUEUED, WORKING, run_event

if TYPE_CHECKING:
    from dataplane.pools import Connection

# A run that waits for a person may do other steps. A node of a graph runs while it waits for the
# answer to its question. OFFSET keeps PostgreSQL from reading the questions, steps and pipelines of
# all runs.
_WAITS_FOR_PERSON = """
    EXISTS (
        SELECT FROM approvals WHERE run_id = working.id AND approvals.state = 'open' OFFSET 0
    )
    AND (
        NOT EXISTS (
            SELECT FROM steps
             WHERE steps.run_id = working.id AND item = 0 AND steps.status = 'running'
            OFFSET 0
        )
        OR EXISTS (
            SELECT FROM pipelines
             WHERE pipelines.pipeline = working.pipeline AND version = working.pipeline_version
               AND code_needs ->> 'graph' <> ''
            OFFSET 0
        )
    )
"""
_WORKING = f"{WORKING} AND NOT ({_WAITS_FOR_PERSON})"

WAITS = "(SELECT waits FROM turn)"
"""Whether the run has to wait, beside the CTE `turn`."""


def turn(task_queue: str, most: str) -> str:
    """Return the CTE `turn`, which says whether another run has to wait for its turn.

    It also says how many others are `under_way`; these are the runs that it reads. It is `most`
    where others wait. `task_queue` and `most` are the parameters for the run's task queue and for
    how many may be under way.
    """
    return f"""
    -- how many others are under way, and whether the run has to wait for its turn
    turn AS MATERIALIZED (
        SELECT under_way, under_way >= {most} AS waits
          FROM (
               SELECT CASE
                   WHEN EXISTS (SELECT FROM runs WHERE {QUEUED} AND task_queue = {task_queue})
                   THEN {most}
                   ELSE (
                       SELECT count(*)
                         FROM (
                              SELECT FROM runs AS working
                               WHERE working.task_queue = {task_queue} AND {_WORKING}
                               LIMIT {most}
                         ) AS counted
                   )
               END AS under_way
          ) AS others
    )
    """


def checked_at(queued: str) -> str:
    """Return the value of `runs.checked_at` of a run that waits for its turn if `queued` is true.

    The reconciler of an earlier build does not know `queued`, and would start the run: it leaves
    alone what is not to be checked before the end of time.
    """
    return f"CASE WHEN {queued} THEN timestamptz 'infinity' END"


async def find_task_queues(connection: Connection) -> tuple[str, ...]:
    """Return the task queues for which runs wait, however many do."""
    rows = await connection.fetch(_TASK_QUEUES)
    return tuple(row["task_queue"] for row in rows)


async def mark_in_question(connection: Connection) -> None:
    """Mark runs under way that wait for people alone, so that nobody reads them to count runs."""
    # It locks up to a thousand runs without their RUN_LOCK. The next visit marks them.
    with suppress(asyncpg.DeadlockDetectedError):
        await connection.execute(_MARK)


async def find_demand(connection: Connection) -> dict[str, int]:
    """Return how many runs are under way or wait for their turn, by task queue.

    Of those that wait a thousand of each task queue are counted, and none that is marked as waiting
    for people.
    """
    rows = await connection.fetch(_DEMAND)
    return {row["task_queue"]: row["runs"] for row in rows}


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
        f"SELECT EXISTS (SELECT FROM runs WHERE {QUEUED} AND task_queue = $1)", task_queue
    )


# One step in the index for each, where DISTINCT would read all runs that wait.
_TASK_QUEUES = f"""
WITH RECURSIVE found AS (
    SELECT (
        SELECT task_queue FROM runs WHERE {QUEUED} ORDER BY task_queue LIMIT 1
    ) AS task_queue
    UNION ALL
    SELECT (
        SELECT runs.task_queue FROM runs
         WHERE {QUEUED} AND runs.task_queue > found.task_queue
         ORDER BY runs.task_queue
         LIMIT 1
    )
      FROM found
     WHERE found.task_queue IS NOT NULL
)
SELECT task_queue FROM found WHERE task_queue IS NOT NULL
"""

# A run that has moved since it was read is left out: a step of it may have begun.
_MARK = f"""
WITH seen AS MATERIALIZED (
    SELECT id, last_seq FROM runs AS working
     WHERE {WORKING} AND {_WAITS_FOR_PERSON}
     LIMIT 1000
),
waiting AS (
    SELECT runs.id FROM seen JOIN runs ON runs.id = seen.id AND runs.last_seq = seen.last_seq
       FOR NO KEY UPDATE OF runs SKIP LOCKED
)
UPDATE runs SET in_question = true FROM waiting WHERE runs.id = waiting.id
"""

_DEMAND = f"""
SELECT task_queue, least(sum(runs), 10000)::int AS runs
  FROM (
       SELECT task_queue, count(*) AS runs FROM runs WHERE {WORKING} GROUP BY task_queue
       UNION ALL
       SELECT waiting.task_queue, count(*)
         FROM ({_TASK_QUEUES}) AS waiting
        CROSS JOIN LATERAL (
              SELECT FROM runs WHERE {QUEUED} AND task_queue = waiting.task_queue LIMIT 1000
        ) AS counted
        GROUP BY waiting.task_queue
  ) AS found
 GROUP BY task_queue
"""

_ADMIT = f"""
-- how many hold a place
WITH under_way AS (
    SELECT count(*) AS runs FROM runs AS working
     WHERE working.task_queue = $1 AND {_WORKING}
),
-- whose turn it is
next AS (
    SELECT id FROM runs
     WHERE {QUEUED} AND task_queue = $1
     ORDER BY created_at, id
     LIMIT (SELECT greatest($2 - runs, 0) FROM under_way)
       FOR NO KEY UPDATE SKIP LOCKED
),
-- they wait no longer
updated AS (
    UPDATE runs
       SET queued = false, checked_at = NULL, in_question = false, updated_at = now(),
           last_seq = last_seq + 1
      FROM next
     WHERE runs.id = next.id
    RETURNING runs.*
),
-- their workflows are to be started
start AS (
    INSERT INTO outbox (run_id, kind)
    SELECT id, 'start' FROM updated ORDER BY created_at, id
    ON CONFLICT (run_id, kind) DO UPDATE SET due_at = EXCLUDED.due_at
)
{run_event("updated")}
"""
