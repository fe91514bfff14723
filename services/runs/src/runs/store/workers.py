"""The table `runs_workers` of the management database: what workers can do, how much at once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from runs.domain.installed import Installed

if TYPE_CHECKING:
    from dataplane.pools import Connection


async def put(
    connection: Connection,
    worker_id: str,
    task_queue: str,
    installed: Installed,
    steps: int,
) -> None:
    """Record what a worker can do, how many steps at once, and that it works now.

    Old workers are forgotten.
    """
    await connection.execute(
        """
        WITH forgotten AS (
            DELETE FROM runs_workers WHERE seen_at < now() - interval '7 days' AND worker_id <> $1
        )
        INSERT INTO runs_workers (worker_id, task_queue, tenants, functions, graphs, steps_at_once,
                                  seen_at)
        VALUES ($1, $2, $3, $4, $5::jsonb, $6, now())
        ON CONFLICT (worker_id) DO UPDATE
           SET task_queue = EXCLUDED.task_queue, tenants = EXCLUDED.tenants,
               functions = EXCLUDED.functions, graphs = EXCLUDED.graphs,
               steps_at_once = EXCLUDED.steps_at_once, seen_at = now()
        """,
        worker_id,
        task_queue,
        sorted(installed.tenants),
        sorted(installed.functions),
        json.dumps({name: sorted(nodes) for name, nodes in sorted(installed.graphs.items())}),
        steps,
    )


async def remove(connection: Connection, worker_id: str) -> None:
    """Forget a worker that has stopped, unless it is the last one of its task queue."""
    await connection.execute(
        """
        DELETE FROM runs_workers AS gone
         WHERE worker_id = $1
           AND EXISTS (
               SELECT FROM runs_workers AS other
                WHERE other.task_queue = gone.task_queue AND other.worker_id <> $1
                  AND other.seen_at > now() - interval '3 minutes'
           )
        """,
        worker_id,
    )


async def steps_at_once(connection: Connection) -> tuple[tuple[frozenset[str], str, int], ...]:
    """Return how many steps workers do at once that work now, by the tenants whose runs they do.

    No tenants are all. Each also with the task queue.
    """
    rows = await connection.fetch(
        """
        SELECT tenants, task_queue, sum(steps_at_once)::int AS steps
          FROM runs_workers
         WHERE seen_at > now() - interval '3 minutes'
         GROUP BY tenants, task_queue
        """
    )
    return tuple((frozenset(row["tenants"]), row["task_queue"], row["steps"]) for row in rows)


async def queues(connection: Connection) -> tuple[str, ...]:
    """Return the pipelines' own task queues that workers served within the last day, by name."""
    rows = await connection.fetch(
        """
        SELECT DISTINCT task_queue FROM runs_workers
         WHERE task_queue <> '' AND seen_at > now() - interval '1 day'
         ORDER BY task_queue
        """
    )
    return tuple(row["task_queue"] for row in rows)


async def of_queue(connection: Connection, task_queue: str) -> tuple[Installed, ...]:
    """Return what is installed beside the workers of a task queue: those that were seen last.

    That is within three minutes of each other, however long ago.
    """
    rows = await connection.fetch(
        """
        SELECT tenants, functions, graphs
          FROM runs_workers
         WHERE task_queue = $1
           AND seen_at > (SELECT max(seen_at) FROM runs_workers WHERE task_queue = $1)
                         - interval '3 minutes'
        """,
        task_queue,
    )
    return tuple(
        Installed(
            frozenset(row["tenants"]),
            frozenset(row["functions"]),
            {name: frozenset(nodes) for name, nodes in json.loads(row["graphs"]).items()},
        )
        for row in rows
    )
