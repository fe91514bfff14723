"""The table `installation`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataplane.pools import Connection


async def identifier(connection: Connection) -> str:
    """Return the id of this installation."""
    return str(await connection.fetchval("SELECT id FROM installation"))


async def marker(connection: Connection) -> str:
    """Return what the comments of this installation's databases begin with.

    Every role of the server can read them, so they name no tenant.
    """
    return "nagaya " + await identifier(connection)
