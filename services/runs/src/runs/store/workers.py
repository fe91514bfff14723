"""The table `runs_workers` of the management database: what workers can do, how much at once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from runs.domain.installed import Installed, WorkerSteps

if TYPE_CHECKING:
    from dataplane.pools import Connection


async def put(
    connection: Connection,
    worker_id: str,
    task_queue: str,
    installed: Installed,
    steps: int,
    tenant_share: int,
) -> None:
    """Record what a worker can do, how many steps at once, and that it works now.

    `tenant_share` is the most that one tenant holds of them, in percent of what the others leave.
    Old workers are forgotten.
    """
    await connection.execute(
        """
        WITH forgotten AS (
            DELETE FROM runs_workers WHERE seen_at < now() - interval '7 days' AND worker_id <> $1
        )
        INSERT INTO runs_workers (worker_id, task_queue, tenants, functions, graphs, steps_at_once,
                                  tenant_share, seen_at)
        VALUES ($1, $2, $3, $4, $5::jsonb, $6, $7, now())
        ON CONFLICT (worker_id) DO UPDATE
           SET task_queue = EXCLUDED.task_queue, tenants = EXCLUDED.tenants,
               functions = EXCLUDED.functions, graphs = EXCLUDED.graphs,
               steps_at_once = EXCLUDED.steps_at_once, tenant_share = EXCLUDED.tenant_share,
               seen_at = now()
        """,
        worker_id,
        task_queue,
        sorted(installed.tenants),
        sorted(installed.functions),
        json.dumps({name: sorted(nodes) for name, nodes in sorted(installed.graphs.items())}),
        steps,
        tenant_share,
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


async def steps_at_once(connection: Connection) -> tuple[WorkerSteps, ...]:
    """Return how many steps each worker does at once that works now."""
    rows = await connection.fetch(
        """
        SELECT tenants, task_queue, steps_at_once, tenant_share
          FROM runs_workers
         WHERE seen_at > now() - interval '3 minutes'
        """
    )
    return tuple(WorkerSteps(frozenset(row["tenants"]), *row[1:]) for row in rows)


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
