"""The table `tenant_identity` of a tenant's database."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataplane.pools import Connection


async def insert(connection: Connection, tenant_id: str) -> bool:
    """Record the tenant that the database belongs to; False if that has been done."""
    inserted = await connection.fetchval(
        """
        INSERT INTO tenant_identity (tenant_id) VALUES ($1)
        ON CONFLICT DO NOTHING
        RETURNING true
        """,
        tenant_id,
    )
    return inserted is not None
