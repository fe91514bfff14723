"""The tables `installation` and `db_servers`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataplane.pools import Connection


async def marker(connection: Connection) -> str:
    """Return what the comments of this installation's databases begin with.

    Every role of the server can read them, so they name no tenant.
    """
    return "nagaya " + str(await connection.fetchval("SELECT id FROM installation"))


async def register_server(connection: Connection, server_id: str, host: str, port: int) -> None:
    """Record the address of a server."""
    await connection.execute(
        """
        INSERT INTO db_servers (id, host, port) VALUES ($1, $2, $3)
        ON CONFLICT (id) DO UPDATE SET host = $2, port = $3, updated_at = now()
         WHERE (db_servers.host, db_servers.port) <> ($2, $3)
        """,
        server_id,
        host,
        port,
    )


async def server_address(connection: Connection, server_id: str) -> tuple[str, int]:
    """Return a server's host and port. Raises LookupError."""
    row = await connection.fetchrow("SELECT host, port FROM db_servers WHERE id = $1", server_id)
    if row is None:
        raise LookupError(f"no database server {server_id} is registered")
    return row["host"], row["port"]
