"""The table `webhook_deliveries`: how far each endpoint has been told of each run.

A row comes with its run (`runs._INSERT`), so that what a run's transitions cost does not depend on
endpoints: the events are read from `run_events`, by the number of the last one that was sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import paging
from runs.domain.webhooks import ClaimedDelivery, Delivery, DeliveryState
from runs.store.events import OPEN

if TYPE_CHECKING:
    from datetime import timedelta

    import asyncpg

    from dataplane.pools import Connection

_DELETED_AT_ONCE = 5_000
_WANTED = """
    FROM webhook_deliveries AS delivery
    JOIN webhook_endpoints AS endpoint USING (endpoint_id)
    JOIN runs ON runs.id = delivery.run_id
   WHERE delivery.state = 'pending' AND endpoint.state = 'enabled'
"""
DUE = "delivery.due_at <= now() AND delivery.next_seq <= runs.last_seq"
"""Of a delivery that is pending: whether it has events to be sent now."""


async def any_pending(connection: Connection) -> bool:
    """Return whether an endpoint waits for events."""
    return await connection.fetchval(f"SELECT EXISTS (SELECT {_WANTED})")


async def claim(
    connection: Connection, endpoint_id: str, limit: int, lease: timedelta
) -> tuple[ClaimedDelivery, ...]:
    """Claim deliveries of an endpoint that are due; nobody else does for `lease`."""
    rows = await connection.fetch(
        f"""
        WITH due AS (
            SELECT delivery.endpoint_id, delivery.run_id
            {_WANTED}
               AND delivery.endpoint_id = $1 AND {DUE}
             ORDER BY delivery.due_at
             LIMIT $2
               FOR UPDATE OF delivery SKIP LOCKED
        )
        UPDATE webhook_deliveries AS delivery SET due_at = now() + $3
          FROM due
         WHERE (delivery.endpoint_id, delivery.run_id) = (due.endpoint_id, due.run_id)
        RETURNING delivery.*
        """,
        UUID(endpoint_id),
        limit,
        lease,
    )
    return tuple(
        ClaimedDelivery(
            str(row["endpoint_id"]),
            str(row["run_id"]),
            row["generation"],
            row["next_seq"],
            row["attempts"],
        )
        for row in rows
    )


async def settle(connection: Connection) -> None:
    """Note that the deliveries of runs that have ended are done, where all events are sent.

    Not while a run's usage is still to be totalled: its totals may change, with an event. What a
    disabled endpoint has left is not looked at each time: it is settled once that is enabled again.
    """
    await connection.execute(
        f"""
        UPDATE webhook_deliveries AS delivery SET state = 'delivered'
          FROM runs, webhook_endpoints AS endpoint
         WHERE delivery.state = 'pending' AND runs.id = delivery.run_id
           AND endpoint.endpoint_id = delivery.endpoint_id AND endpoint.state = 'enabled'
           AND delivery.next_seq > runs.last_seq AND NOT runs.{OPEN}
           AND NOT EXISTS (SELECT FROM usage_checks WHERE usage_checks.run_id = runs.id)
        """
    )


async def seconds_until_due(connection: Connection) -> float | None:
    """Return in how long to look again; None when no endpoint waits for anything.

    At once while something is due, every second while something has happened lately, else every
    five.
    """
    found = await connection.fetchval(
        f"""
        SELECT extract(epoch FROM min(
                   CASE WHEN {DUE} THEN interval '0'
                        WHEN delivery.failing_since IS NOT NULL THEN delivery.due_at - now()
                        WHEN runs.updated_at > now() - interval '1 minute' THEN interval '1 second'
                        ELSE interval '5 seconds'
                   END))::float8
        {_WANTED}
        """
    )
    return None if found is None else max(found, 0.0)


async def note_sent(
    connection: Connection, claimed: ClaimedDelivery, next_sequence: int, *, sent: bool, more: bool
) -> bool:
    """Record up to which number an endpoint has been told; return whether it was still claimed.

    The delivery stays claimed if `more` is sent at once. Else its next events are due.
    """
    noted = await connection.fetchval(
        f"""
        UPDATE webhook_deliveries
           SET next_seq = $5, attempts = 0, failing_since = NULL, failure = '',
               delivered_at = CASE WHEN $6 THEN now() ELSE delivered_at END,
               due_at = CASE WHEN $7 THEN due_at ELSE now() END
         WHERE {_CLAIMED}
        RETURNING true
        """,
        *_key(claimed),
        next_sequence,
        sent,
        more,
    )
    return bool(noted)


async def note_failed(
    connection: Connection, claimed: ClaimedDelivery, failure: str, seconds: float, days: float
) -> bool:
    """Record an attempt that failed; it is dead once it has failed for `days`. Return whether."""
    state = await connection.fetchval(
        f"""
        UPDATE webhook_deliveries
           SET attempts = attempts + 1, failure = $5,
               failing_since = coalesce(failing_since, now()),
               due_at = now() + make_interval(secs => $6),
               state = CASE WHEN failing_since < now() - make_interval(secs => $7 * 86400)
                            THEN 'dead' ELSE 'pending' END
         WHERE {_CLAIMED}
        RETURNING state
        """,
        *_key(claimed),
        failure,
        seconds,
        days,
    )
    return state == "dead"


async def page(
    connection: Connection, endpoint: str, state: str, size: int, token: str
) -> paging.Page[Delivery] | None:
    """Return one page of an endpoint's deliveries, by run; of any state when it is empty.

    None if there is no such endpoint.
    """
    limit = size or paging.DEFAULT_SIZE
    where, values = paging.where(
        ("endpoint.name = {}", endpoint),
        ("delivery.state = {}", state or None),
        ("delivery.run_id > {}", paging.decode(token, UUID)),
    )
    rows = await connection.fetch(
        f"""
        SELECT endpoint.name, delivery.*
          FROM webhook_deliveries AS delivery
          JOIN webhook_endpoints AS endpoint USING (endpoint_id) {where}
         ORDER BY delivery.run_id LIMIT ${len(values) + 1}
        """,
        *values,
        limit + 1,
    )
    if not rows:
        exists = "SELECT EXISTS (SELECT FROM webhook_endpoints WHERE name = $1)"
        if not await connection.fetchval(exists, endpoint):
            return None
    return paging.page(rows, limit, _delivery, "run_id")


async def replay_run(
    connection: Connection, endpoint_id: str, run_id: str, from_sequence: int
) -> int:
    """Have a run's events sent from a number on, also of one that was created before.

    Returns of how many runs: 0 if there is no such endpoint.
    """
    return await connection.fetchval(
        f"""
        WITH again AS (
            INSERT INTO webhook_deliveries AS delivery (endpoint_id, run_id, next_seq)
            SELECT endpoint_id, $2, $3 FROM webhook_endpoints WHERE endpoint_id = $1 FOR KEY SHARE
            ON CONFLICT (endpoint_id, run_id) DO UPDATE
               SET next_seq = $3, {_AGAIN}
            RETURNING 1
        )
        SELECT count(*) FROM again
        """,
        UUID(endpoint_id),
        UUID(run_id),
        from_sequence,
    )


async def replay_failed(connection: Connection, endpoint_id: str) -> int:
    """Have what could not be delivered sent again at once; return of how many runs."""
    rows = await connection.fetch(
        f"""
        UPDATE webhook_deliveries AS delivery SET {_AGAIN}
         WHERE endpoint_id = $1 AND (state = 'dead' OR failing_since IS NOT NULL)
        RETURNING 1
        """,
        UUID(endpoint_id),
    )
    return len(rows)


async def delete_some(connection: Connection, endpoint_id: str) -> bool:
    """Delete deliveries of an endpoint; return whether there may be more."""
    rows = await connection.fetch(
        """
        DELETE FROM webhook_deliveries
         WHERE (endpoint_id, run_id) IN (
               SELECT endpoint_id, run_id FROM webhook_deliveries
                WHERE endpoint_id = $1 LIMIT $2 FOR UPDATE SKIP LOCKED)
        RETURNING 1
        """,
        UUID(endpoint_id),
        _DELETED_AT_ONCE,
    )
    return len(rows) == _DELETED_AT_ONCE


async def reopen(connection: Connection, run_id: str) -> None:
    """Have the events of a run that had ended, and goes on, sent again."""
    await connection.execute(
        "UPDATE webhook_deliveries SET state = 'pending' WHERE run_id = $1 AND state = 'delivered'",
        UUID(run_id),
    )


_AGAIN = """
    state = 'pending', attempts = 0, failing_since = NULL, failure = '', due_at = now(),
    generation = delivery.generation + 1
"""


# Nobody else has sent its events since, and no replay was asked for.
_CLAIMED = "endpoint_id = $1 AND run_id = $2 AND generation = $3 AND next_seq = $4"


def _key(claimed: ClaimedDelivery) -> tuple[UUID, UUID, int, int]:
    return (
        UUID(claimed.endpoint_id),
        UUID(claimed.run_id),
        claimed.generation,
        claimed.next_sequence,
    )


def _delivery(row: asyncpg.Record) -> Delivery:
    state = DeliveryState(row["state"])
    retried = state is DeliveryState.PENDING and row["failing_since"] is not None
    return Delivery(
        endpoint=row["name"],
        run_id=str(row["run_id"]),
        state=state,
        next_sequence=row["next_seq"],
        attempts=row["attempts"],
        failing_since=row["failing_since"],
        retry_time=row["due_at"] if retried else None,
        failure=row["failure"],
        delivery_time=row["delivered_at"],
    )
