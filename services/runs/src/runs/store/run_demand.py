"""The table `runs_tenant_demand` of the management database: which tenants have runs to do now.

A row says how many runs of a tenant are under way or wait for their turn on a task queue, 10,000 at
most. For 20 seconds it only grows: whoever has many runs to do has few at their end, and more a
moment later, and others that took all of the room in between would slow down both. One that nobody
has written for 40 seconds says nothing any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataplane.pools import Connection

TABLE = "runs_tenant_demand"
MOST = 10_000
"""The most runs that are counted."""
HELD_SECONDS = 20.0
"""For how long a row stays, unless there are more runs."""
SECONDS = 40.0
"""For how long a row counts. A relay visits a tenant with runs to do each 15 seconds or so."""


async def find_all(connection: Connection) -> dict[str, dict[str, int]]:
    """Return how many runs tenants have to do now, by task queue and tenant."""
    rows = await connection.fetch(
        f"""
        SELECT tenant_id, task_queue, runs FROM {TABLE}
         WHERE seen_at > now() - make_interval(secs => $1)
        """,
        SECONDS,
    )
    found: dict[str, dict[str, int]] = {}
    for row in rows:
        found.setdefault(row["task_queue"], {})[row["tenant_id"]] = row["runs"]
    return found


async def put(connection: Connection, demand: Mapping[tuple[str, str], int]) -> None:
    """Record how many runs some tenants have to do, by tenant and task queue.

    Rows that have said nothing for an hour are deleted.
    """
    # SKIP LOCKED: two that do this wait for each other in no order.
    await connection.execute(
        f"""
        DELETE FROM {TABLE} AS old
         USING (
               SELECT tenant_id, task_queue FROM {TABLE}
                WHERE seen_at < now() - interval '1 hour'
                  FOR UPDATE SKIP LOCKED
         ) AS found
         WHERE old.tenant_id = found.tenant_id AND old.task_queue = found.task_queue
        """
    )
    await connection.execute(
        f"""
        INSERT INTO {TABLE} AS known (tenant_id, task_queue, runs)
        SELECT tenant_id, task_queue, runs
          FROM unnest($1::text[], $2::text[], $3::int[]) AS given (tenant_id, task_queue, runs)
         ORDER BY tenant_id, task_queue
        ON CONFLICT (tenant_id, task_queue) DO UPDATE SET runs = EXCLUDED.runs, seen_at = now()
         WHERE EXCLUDED.runs >= known.runs OR known.seen_at < now() - make_interval(secs => $4)
        """,
        [tenant_id for tenant_id, _ in demand],
        [task_queue for _, task_queue in demand],
        list(demand.values()),
        HELD_SECONDS,
    )


async def replace(connection: Connection, tenant_id: str, demand: Mapping[str, int]) -> None:
    """Record how many runs a tenant has to do, by task queue; on all others it has none."""
    await connection.execute(
        f"""
        DELETE FROM {TABLE}
         WHERE tenant_id = $1 AND task_queue <> ALL($2)
           AND seen_at < now() - make_interval(secs => $3)
        """,
        tenant_id,
        list(demand),
        HELD_SECONDS,
    )
    if demand:
        await put(connection, {(tenant_id, queue): runs for queue, runs in demand.items()})
