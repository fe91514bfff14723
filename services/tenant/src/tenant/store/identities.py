"""The table `tenant_identity` of a tenant's database."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataplane.pools import Connection


class IdentityStore:
    async def insert(self, connection: Connection, tenant_id: str) -> bool:
        """Write down whose the database is; False if that has been done."""
        inserted = await connection.fetchval(
            """
            INSERT INTO tenant_identity (tenant_id) VALUES ($1)
            ON CONFLICT DO NOTHING
            RETURNING true
            """,
            tenant_id,
        )
        return inserted is not None
