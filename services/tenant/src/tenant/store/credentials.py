"""The encrypted passwords of the services' roles.

`tenants.database_url` holds the tenant service's own, `tenant_credentials` the others',
`management_credentials` those for the management database. Each is bound to its row and column: it
cannot be decrypted in another place.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

    import asyncpg

    from dataplane.pools import Connection
    from tenant.domain.databases import Database
    from tenant.domain.encryption import KeyRing

_FIRST_GENERATION = 1


@dataclass(frozen=True, slots=True)
class Credential:
    """The login of one service's role on one database."""

    service: str
    password: str = field(repr=False)
    connection_limit: int


def encrypted_url(
    key_ring: KeyRing, tenant_id: str, host: str, port: int, database: Database, password: str
) -> str:
    """Return the URL by which the tenant service logs in to a tenant's database, encrypted."""
    url = f"postgresql://{database.runtime('tenant')}:{password}@{host}:{port}/{database.name}"
    return key_ring.encrypt(url, "tenants.database_url", tenant_id)


async def own_password(connection: Connection, key_ring: KeyRing, tenant_id: str) -> str:
    """Return the password in a tenant's `database_url`."""
    sealed = await connection.fetchval("SELECT database_url FROM tenants WHERE id = $1", tenant_id)
    url = key_ring.decrypt(sealed, "tenants.database_url", tenant_id)
    return urlsplit(url).password or ""


async def insert(
    connection: Connection,
    key_ring: KeyRing,
    tenant_id: str,
    passwords: Mapping[str, str],
    connection_limit: int,
) -> None:
    """Insert the passwords of the services other than the tenant service, by service."""
    await connection.executemany(
        """
        INSERT INTO tenant_credentials
            (tenant_id, service, generation, sealed, connection_limit)
        VALUES ($1, $2, $3, $4, $5)
        """,
        [
            (
                tenant_id,
                service,
                _FIRST_GENERATION,
                key_ring.encrypt(password, *_place(tenant_id, service, _FIRST_GENERATION)),
                connection_limit,
            )
            for service, password in passwords.items()
        ],
    )


async def replace(
    connection: Connection, key_ring: KeyRing, tenant_id: str, passwords: Mapping[str, str]
) -> None:
    """Replace the passwords of the services other than the tenant service, by service.

    The caller's transaction holds the tenant's lock.
    """
    rows = await connection.fetch(
        "SELECT service, generation + 1 AS next FROM tenant_credentials WHERE tenant_id = $1",
        tenant_id,
    )
    await connection.executemany(
        """
        UPDATE tenant_credentials SET generation = $3, sealed = $4
         WHERE (tenant_id, service) = ($1, $2)
        """,
        [
            (
                tenant_id,
                service,
                generation,
                key_ring.encrypt(passwords[service], *_place(tenant_id, service, generation)),
            )
            for service, generation in rows
        ],
    )


async def of_tenant(
    connection: Connection, key_ring: KeyRing, tenant_id: str
) -> dict[str, Credential]:
    """Return the credentials of the services other than the tenant service, by service."""
    rows = await connection.fetch(
        """
        SELECT service, generation, sealed, connection_limit
          FROM tenant_credentials
         WHERE tenant_id = $1
        """,
        tenant_id,
    )
    return {row["service"]: _credential(key_ring, row, tenant_id) for row in rows}


async def change(
    connection: Connection, key_ring: KeyRing, tenant_id: str, passwords: Mapping[str, str]
) -> None:
    """Replace the passwords of services other than the tenant service, in the next generation."""
    rows = await connection.fetch(
        "SELECT service, generation FROM tenant_credentials WHERE tenant_id = $1", tenant_id
    )
    for row in rows:
        service, generation = row["service"], row["generation"] + 1
        await connection.execute(
            """
            UPDATE tenant_credentials SET sealed = $3, generation = $4
             WHERE tenant_id = $1 AND service = $2
            """,
            tenant_id,
            service,
            key_ring.encrypt(passwords[service], *_place(tenant_id, service, generation)),
            generation,
        )


async def change_for_management(
    connection: Connection, key_ring: KeyRing, passwords: Mapping[str, str]
) -> None:
    """Replace all passwords for the management database; processes are notified of it."""
    rows = await connection.fetch("SELECT service, generation FROM management_credentials")
    for row in rows:
        service, generation = row["service"], row["generation"] + 1
        await connection.execute(
            "UPDATE management_credentials SET sealed = $2, generation = $3 WHERE service = $1",
            service,
            key_ring.encrypt(passwords[service], *_place("", service, generation)),
            generation,
        )


async def insert_for_management(
    connection: Connection,
    key_ring: KeyRing,
    passwords: Mapping[str, str],
    connection_limits: Mapping[str, int],
) -> None:
    """Insert passwords for the management database, for the services that have none yet."""
    await connection.executemany(
        """
        INSERT INTO management_credentials (service, generation, sealed, connection_limit)
        VALUES ($1, $2, $3, $4)
        ON CONFLICT (service) DO NOTHING
        """,
        [
            (
                service,
                _FIRST_GENERATION,
                key_ring.encrypt(password, *_place("", service, _FIRST_GENERATION)),
                connection_limits[service],
            )
            for service, password in passwords.items()
        ],
    )


async def management_generation(connection: Connection) -> int:
    """Return the generation of the passwords for the management database."""
    return await connection.fetchval("SELECT max(generation) FROM management_credentials")


async def of_management(connection: Connection, key_ring: KeyRing) -> dict[str, Credential]:
    """Return the credentials for the management database, by service."""
    rows = await connection.fetch(
        "SELECT service, generation, sealed, connection_limit FROM management_credentials"
    )
    return {row["service"]: _credential(key_ring, row, "") for row in rows}


def _credential(key_ring: KeyRing, row: asyncpg.Record, tenant_id: str) -> Credential:
    place = _place(tenant_id, row["service"], row["generation"])
    password = key_ring.decrypt(row["sealed"], *place)
    return Credential(row["service"], password, row["connection_limit"])


def _place(tenant_id: str, service: str, generation: int) -> tuple[str, ...]:
    table = "tenant_credentials" if tenant_id else "management_credentials"
    return (table, tenant_id, service, str(generation))
