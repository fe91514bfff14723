"""The table `llm_replies`: whole replies that processes of earlier versions could not store.

Until its migration has run for a tenant it is read as if it were empty.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import asyncpg

from llm_gateway.domain.files import ReplyDraft

if TYPE_CHECKING:
    from dataplane.pools import Connection


async def find(connection: Connection, call_id: int) -> ReplyDraft | None:
    """Return the kept reply to a call."""
    try:
        row = await connection.fetchrow(
            """
            SELECT kept.body, encode(sha256(kept.body), 'hex') AS digest, kept.summary,
                   kept.metrics::text, calls.request_digest, kept.attempt,
                   attempts.provider_request_id
              FROM llm_replies AS kept
              JOIN llm_calls AS calls ON calls.id = kept.call_id
              JOIN llm_call_attempts AS attempts USING (call_id, attempt)
             WHERE kept.call_id = $1
            """,
            call_id,
        )
    except asyncpg.UndefinedTableError:
        return None
    if row is None:
        return None
    return ReplyDraft(**{**row, "metrics": json.loads(row["metrics"])})


async def delete(connection: Connection, call_id: int) -> int | None:
    """Delete the kept reply to a call; return its attempt."""
    try:
        async with connection.transaction():
            return await connection.fetchval(
                "DELETE FROM llm_replies WHERE call_id = $1 RETURNING attempt", call_id
            )
    except asyncpg.UndefinedTableError:
        return None


async def exist(connection: Connection) -> bool:
    """Whether any reply is kept."""
    try:
        return await connection.fetchval("SELECT EXISTS (SELECT FROM llm_replies)")
    except asyncpg.UndefinedTableError:
        return False
