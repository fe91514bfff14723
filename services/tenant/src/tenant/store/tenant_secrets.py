"""The table `tenant_secrets`: secrets that services keep for tenants, encrypted."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataplane.pools import Connection
    from tenant.domain.encryption import KeyRing


async def ensure(
    connection: Connection, key_ring: KeyRing, tenant_id: str, service: str, name: str, secret: str
) -> str | None:
    """Return the secret of a name, `secret` if there was none; None if there is no such tenant."""
    place = ("tenant_secrets", tenant_id, service, name)
    await connection.execute(
        """
        INSERT INTO tenant_secrets (tenant_id, service, name, sealed)
        SELECT id, $2, $3, $4 FROM tenants WHERE id = $1
        ON CONFLICT DO NOTHING
        """,
        tenant_id,
        service,
        name,
        key_ring.encrypt(secret, *place),
    )
    sealed = await find(connection, tenant_id, service, name)
    return None if sealed is None else key_ring.decrypt(sealed, *place)


async def find(connection: Connection, tenant_id: str, service: str, name: str) -> str | None:
    """Return the encrypted secret of a name."""
    return await connection.fetchval(
        """
        SELECT sealed FROM tenant_secrets
         WHERE tenant_id = $1 AND service = $2 AND name = $3
        """,
        tenant_id,
        service,
        name,
    )


async def delete(connection: Connection, tenant_id: str, service: str, name: str) -> None:
    """Delete the secret of a name."""
    await connection.execute(
        "DELETE FROM tenant_secrets WHERE tenant_id = $1 AND service = $2 AND name = $3",
        tenant_id,
        service,
        name,
    )
