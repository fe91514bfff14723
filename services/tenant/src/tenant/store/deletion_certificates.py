"""The table `deletion_certificates`."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from dataplane.pools import Connection


async def insert(
    connection: Connection, operation_id: str, tenant_id: str, document: bytes
) -> None:
    """Insert the certificate of a purge, unless it is there."""
    await connection.execute(
        """
        INSERT INTO deletion_certificates (id, tenant_id, document) VALUES ($1, $2, $3)
        ON CONFLICT (id) DO NOTHING
        """,
        UUID(operation_id),
        tenant_id,
        document,
    )


async def newest(connection: Connection, tenant_id: str) -> bytes | None:
    """Return the certificate of the last purge of a tenant of this id."""
    return await connection.fetchval(
        """
        SELECT document FROM deletion_certificates
         WHERE tenant_id = $1
         ORDER BY created_at DESC, id
         LIMIT 1
        """,
        tenant_id,
    )


async def purged(connection: Connection) -> set[str]:
    """Return the ids of the tenants that were purged, whether or not they are in use again."""
    rows = await connection.fetch("SELECT DISTINCT tenant_id FROM deletion_certificates")
    return {row["tenant_id"] for row in rows}
