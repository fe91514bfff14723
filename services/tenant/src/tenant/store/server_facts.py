"""What a database server is and what the provisioner may do there."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataplane.pools import Connection


async def system_identifier(connection: Connection) -> str:
    """Return which cluster a server is."""
    return await connection.fetchval("SELECT system_identifier::text FROM pg_control_system()")
