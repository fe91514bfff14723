"""The table `llm_gateway_pending_work` of the management database: when to visit which tenant."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dataplane.pools import Connection

CLAIM_SECONDS = 600
NOTE_VALID_SECONDS = 60
"""For how long a note is relied on before it is written anew."""
RECENT_SECONDS = 2 * NOTE_VALID_SECONDS
"""A note so recent may stand for a call that is not recorded yet."""
IDLE_SECONDS = 86_400


async def note(connection: Connection, tenant_id: str, delay_seconds: float) -> None:
    """See to it that a tenant is visited, `delay_seconds` from now or before."""
    await connection.execute(
        """
        INSERT INTO llm_gateway_pending_work (tenant_id, due_at)
        VALUES ($1, now() + make_interval(secs => $2))
        ON CONFLICT (tenant_id) DO UPDATE SET
            due_at = least(llm_gateway_pending_work.due_at, excluded.due_at),
            noted_at = now()
        """,
        tenant_id,
        delay_seconds,
    )


async def add(connection: Connection, tenant_ids: Sequence[str]) -> None:
    """See to it that tenants are visited that have never been noted, spread over a day."""
    await connection.execute(
        """
        INSERT INTO llm_gateway_pending_work (tenant_id, due_at)
        SELECT tenant_id, now() + make_interval(secs => $2 * random())
          FROM unnest($1::text[]) AS active (tenant_id)
        ON CONFLICT (tenant_id) DO NOTHING
        """,
        tenant_ids,
        float(IDLE_SECONDS),
    )


async def claim(connection: Connection) -> str | None:
    """Take the tenant that has been due longest; no other process does for ten minutes."""
    return await connection.fetchval(
        """
        UPDATE llm_gateway_pending_work
           SET due_at = now() + make_interval(secs => $1)
         WHERE tenant_id = (
               SELECT tenant_id
                 FROM llm_gateway_pending_work
                WHERE due_at <= now()
                ORDER BY due_at
                LIMIT 1
                  FOR UPDATE SKIP LOCKED)
        RETURNING tenant_id
        """,
        CLAIM_SECONDS,
    )


async def reschedule(connection: Connection, tenant_id: str, seconds: float) -> None:
    """Have a tenant visited again after so many seconds."""
    await connection.execute(
        """
        UPDATE llm_gateway_pending_work
           SET due_at = now() + make_interval(secs => $2)
         WHERE tenant_id = $1
        """,
        tenant_id,
        seconds,
    )


async def complete(connection: Connection, tenant_id: str) -> None:
    """Have a tenant visited once when all that relies on its note is recorded, then daily."""
    await connection.execute(
        """
        UPDATE llm_gateway_pending_work
           SET due_at = CASE
                   WHEN noted_at > now() - make_interval(secs => $2)
                   THEN noted_at + make_interval(secs => $2)
                   ELSE now() + make_interval(secs => $3)
               END
         WHERE tenant_id = $1
        """,
        tenant_id,
        RECENT_SECONDS,
        IDLE_SECONDS,
    )
