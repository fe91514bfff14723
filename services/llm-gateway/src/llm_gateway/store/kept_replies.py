"""The table `llm_replies`; until its migration has run for a tenant, as if it were empty."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import asyncpg

from llm_gateway.domain.files import ReplyDraft

if TYPE_CHECKING:
    from dataplane.pools import Connection


async def insert(connection: Connection, call_id: int, draft: ReplyDraft) -> int | None:
    """Keep a reply, unless one to the call is kept; return the attempt whose reply is kept."""
    try:
        async with connection.transaction():
            await connection.execute(
                """
                INSERT INTO llm_replies (call_id, attempt, body, summary, metrics)
                VALUES ($1, $2, $3, $4, $5::jsonb)
                ON CONFLICT (call_id) DO NOTHING
                """,
                call_id,
                draft.attempt,
                draft.body,
                draft.summary,
                json.dumps(dict(draft.metrics)),
            )
    except asyncpg.UndefinedTableError:
        return None
    return await connection.fetchval("SELECT attempt FROM llm_replies WHERE call_id = $1", call_id)


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
