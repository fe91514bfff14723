"""The table `runs_pending_work` of the management database: the tenants with work for a relay.

A row is written before the tenant's transaction begins, and outlives it: it is removed when nothing
is left to do and nobody can still be inside a transaction that relies on it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataplane.pools import Connection

_KIND = "runs"

RENEWED = timedelta(seconds=10)
"""For how long a note is relied on before it is written anew."""

_LAST_DUE = RENEWED + timedelta(seconds=5)
"""When what relies on a note is due at the latest, counted from the note."""

KEPT = timedelta(minutes=3)
"""How long a note is kept at least: longer than it is relied on, and a call may take."""


async def note(connection: Connection, tenant_id: str, delay: timedelta) -> None:
    """Note that a tenant has work, to be done after `delay` at the latest."""
    await connection.execute(
        """
        INSERT INTO runs_pending_work (tenant_id, kind, due_at)
        VALUES ($1, $2, now() + $3::interval)
        ON CONFLICT (tenant_id, kind) DO UPDATE
           SET noted_at = now(), due_at = least(runs_pending_work.due_at, excluded.due_at)
        """,
        tenant_id,
        _KIND,
        delay,
    )


async def claim(connection: Connection, limit: int, lease: timedelta) -> tuple[str, ...]:
    """Take tenants that are due; each is due again after `lease`, unless it is settled."""
    rows = await connection.fetch(
        """
        WITH due AS (
            SELECT tenant_id, kind FROM runs_pending_work
             WHERE due_at <= now()
             ORDER BY due_at
             LIMIT $1
               FOR UPDATE SKIP LOCKED
        )
        UPDATE runs_pending_work SET due_at = now() + $2
          FROM due
         WHERE runs_pending_work.tenant_id = due.tenant_id AND runs_pending_work.kind = due.kind
        RETURNING runs_pending_work.tenant_id
        """,
        limit,
        lease,
    )
    return tuple(row["tenant_id"] for row in rows)


async def reschedule(connection: Connection, tenant_id: str, delay: timedelta) -> None:
    """Make a tenant due again after `delay`, or sooner: when it was noted for meanwhile, and
    once when all that relies on its note is due.
    """
    await connection.execute(
        """
        UPDATE runs_pending_work
           SET due_at = least(due_at, now() + $3,
                              CASE WHEN noted_at + $4 > now() THEN noted_at + $4 END)
         WHERE tenant_id = $1 AND kind = $2
        """,
        tenant_id,
        _KIND,
        delay,
        _LAST_DUE,
    )


async def complete(connection: Connection, tenant_id: str) -> None:
    """Remove a tenant with nothing left to do, unless its note is too young."""
    await connection.execute(
        """
        DELETE FROM runs_pending_work
         WHERE tenant_id = $1 AND kind = $2 AND noted_at < now() - $3::interval
        """,
        tenant_id,
        _KIND,
        KEPT,
    )
