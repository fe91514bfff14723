"""The table `sagas`: the last completed step of each tenant's creation."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataplane.pools import Connection


async def insert(connection: Connection, tenant_id: str) -> None:
    """Record that a creation begins."""
    await connection.execute("INSERT INTO sagas (kind, tenant_id) VALUES ('create', $1)", tenant_id)


async def last_step(connection: Connection, tenant_id: str) -> str:
    """Return the last completed step; empty when none is."""
    return await connection.fetchval(
        "SELECT step FROM sagas WHERE kind = 'create' AND tenant_id = $1", tenant_id
    )


async def record_step(connection: Connection, tenant_id: str, step: str) -> None:
    await connection.execute(
        """
        UPDATE sagas SET step = $2, updated_at = now()
         WHERE kind = 'create' AND tenant_id = $1
        """,
        tenant_id,
        step,
    )
