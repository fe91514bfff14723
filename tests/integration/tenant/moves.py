"""What moves of a tenant `acme` leave: its entries, and what is on a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg

from dataplane import audit

if TYPE_CHECKING:
    from nagaya_local.parts.postgres import PostgresServer
    from tenant.composition import Composition


async def logged(service: Composition) -> list[str]:
    async with service.tenant_pools.connection("acme") as connection:
        await audit.chain_all(connection)
        rows = await connection.fetch("SELECT resource_id FROM audit_logs WHERE action = 'note'")
    return [row["resource_id"] for row in rows]


async def databases_on(server: PostgresServer, name: str) -> list[str]:
    connection = await asyncpg.connect(server.superuser_url())
    rows = await connection.fetch(
        """
        SELECT datname AS name FROM pg_database WHERE starts_with(datname, $1)
         UNION ALL SELECT rolname FROM pg_roles WHERE starts_with(rolname, $1)
         UNION ALL SELECT slot_name FROM pg_replication_slots
        """,
        name,
    )
    await connection.close()
    return [row["name"] for row in rows]


async def interrupt_drop(server: PostgresServer, name: str) -> None:
    """Leave a database as a DROP DATABASE does that was cut off."""
    connection = await asyncpg.connect(server.superuser_url())
    await connection.execute("UPDATE pg_database SET datconnlimit = -2 WHERE datname = $1", name)
    await connection.close()
