"""The table `sagas`: how far a creation has come."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataplane.pools import Connection


class SagaStore:
    async def begin(self, connection: Connection, tenant_id: str) -> None:
        await connection.execute(
            "INSERT INTO sagas (kind, tenant_id) VALUES ('create', $1)", tenant_id
        )

    async def last_step(self, connection: Connection, tenant_id: str) -> str:
        """Return the last step that is done; empty when none is."""
        return await connection.fetchval(
            "SELECT step FROM sagas WHERE kind = 'create' AND tenant_id = $1", tenant_id
        )

    async def record(self, connection: Connection, tenant_id: str, step: str) -> None:
        await connection.execute(
            """
            UPDATE sagas SET step = $2, updated_at = now()
             WHERE kind = 'create' AND tenant_id = $1
            """,
            tenant_id,
            step,
        )
