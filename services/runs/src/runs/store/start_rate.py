"""The table `start_rate`: when the next run may start, where a tenant's runs start at a rate.

The generic cell rate algorithm: a start moves the moment of the next one by the time between two.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from runs.store import outbox

if TYPE_CHECKING:
    from dataplane.pools import Connection
    from runs.store.outbox import OutboxMessage

_BURST = timedelta(seconds=5)
"""Of how long starts that nobody wanted are made up: relays come only every few seconds."""


async def claim_starts(
    connection: Connection, per_minute: int, limit: int, retry_after: timedelta
) -> tuple[tuple[OutboxMessage, ...], timedelta | None]:
    """Claim the starts whose turn it is, in a transaction.

    Returns them, and in how long the turn of another one comes; None if none waits.
    """
    row = await connection.fetchrow(
        """
        INSERT INTO start_rate AS rate (next_start) VALUES (now())
        ON CONFLICT (one) DO UPDATE SET next_start = greatest(rate.next_start, now() - $1::interval)
        RETURNING next_start, now() AS moment
        """,
        _BURST,
    )
    assert row is not None  # noqa: S101 - it returns one
    between = timedelta(minutes=1) / per_minute
    behind = row["moment"] - row["next_start"]
    allowed = min(behind // between + 1, limit)
    messages: tuple[OutboxMessage, ...] = ()
    if allowed > 0:
        messages = await outbox.claim(connection, allowed, retry_after, "starts")
    next_start = row["next_start"] + between * len(messages)
    await connection.execute("UPDATE start_rate SET next_start = $1", next_start)
    waiting = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM outbox WHERE kind = 'start' AND due_at <= now())"
    )
    return messages, max(next_start - row["moment"], timedelta()) if waiting else None
