"""The table `llm_call_replies`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    from dataplane.pools import Connection


async def insert(connection: Connection, call_id: int, attempt: int, body: bytes) -> None:
    """Store the reply to a call, inside the transaction that settles it."""
    await connection.execute(
        "INSERT INTO llm_call_replies (call_id, attempt, body) VALUES ($1, $2, $3)",
        call_id,
        attempt,
        body,
    )


async def read(connection: Connection, call_id: int, offset: int, size: int) -> bytes | None:
    """Return so many bytes of a reply, fewer at its end; None when it is not there."""
    return await connection.fetchval(
        "SELECT substring(body FROM $2 FOR $3) FROM llm_call_replies WHERE call_id = $1",
        call_id,
        offset + 1,
        size,
    )


async def delete_older(connection: Connection, seconds: float, limit: int) -> int:
    """Delete replies whose calls were settled so many seconds ago; return how many there were."""
    try:
        deleted = await connection.fetch(
            """
            DELETE FROM llm_call_replies WHERE call_id IN (
                SELECT call_id FROM llm_call_replies
                 WHERE settled_at < now() - $1::interval
                 ORDER BY call_id
                 LIMIT $2
            )
            RETURNING call_id
            """,
            timedelta(seconds=seconds),
            limit,
        )
    except asyncpg.UndefinedTableError:
        return 0  # until the migration has run
    return len(deleted)
