"""The table `next_credentials`: passwords that roles are being given.

They are committed here before a server is told them, and leave when the registry has them: in
between, services are told both the present password and the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataplane.pools import Connection
    from tenant.domain.encryption import KeyRing


async def of_place(
    connection: Connection, key_ring: KeyRing, tenant_id: str, server_id: str, database: str
) -> dict[str, str]:
    """Return the next passwords of a database's roles, by service; none unless they change."""
    rows = await connection.fetch(
        """
        SELECT service, operation_id, sealed FROM next_credentials
         WHERE tenant_id = $1 AND server_id = $2 AND db_name = $3
        """,
        tenant_id,
        server_id,
        database,
    )
    return {
        row["service"]: key_ring.decrypt(
            row["sealed"], *_place(tenant_id, row["service"], row["operation_id"])
        )
        for row in rows
    }


async def insert(
    connection: Connection,
    key_ring: KeyRing,
    tenant_id: str,
    server_id: str,
    database: str,
    operation_id: str,
    passwords: Mapping[str, str],
) -> None:
    """Insert the passwords of all services, in the place of those there are for another database.

    Those for the same database stay: its roles may have them already.
    """
    await connection.execute(
        "DELETE FROM next_credentials WHERE tenant_id = $1 AND (server_id, db_name) <> ($2, $3)",
        tenant_id,
        server_id,
        database,
    )
    await connection.executemany(
        """
        INSERT INTO next_credentials
            (tenant_id, server_id, db_name, service, operation_id, sealed)
        VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT DO NOTHING
        """,
        [
            (
                tenant_id,
                server_id,
                database,
                service,
                operation_id,
                key_ring.encrypt(password, *_place(tenant_id, service, operation_id)),
            )
            for service, password in passwords.items()
        ],
    )


async def delete(connection: Connection, tenant_id: str) -> None:
    """Delete a tenant's next passwords."""
    await connection.execute("DELETE FROM next_credentials WHERE tenant_id = $1", tenant_id)


def _place(tenant_id: str, service: str, operation_id: str) -> tuple[str, ...]:
    return ("next_credentials", tenant_id, service, operation_id)
