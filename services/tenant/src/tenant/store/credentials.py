"""The sealed passwords of the services' roles.

In `tenants.database_url` for the tenant service itself, in `tenant_credentials` for the others, in
`management_credentials` for the management database. Each opens only in its own place.
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
    from tenant.domain.sealing import KeyRing

_FIRST_GENERATION = 1


@dataclass(frozen=True, slots=True)
class Credential:
    """One service's role on one database."""

    service: str
    password: str = field(repr=False)
    connection_limit: int


class CredentialStore:
    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    def seal_url(
        self, tenant_id: str, host: str, port: int, database: Database, password: str
    ) -> str:
        """Return the address by which the tenant service logs in to a tenant's database, sealed."""
        url = f"postgresql://{database.runtime('tenant')}:{password}@{host}:{port}/{database.name}"
        return self._keys.seal(url, "tenants.database_url", tenant_id)

    async def own_password(self, connection: Connection, tenant_id: str) -> str:
        """Return the password in a tenant's `database_url`."""
        sealed = await connection.fetchval(
            "SELECT database_url FROM tenants WHERE id = $1", tenant_id
        )
        url = self._keys.open(sealed, "tenants.database_url", tenant_id)
        return urlsplit(url).password or ""

    async def insert(
        self,
        connection: Connection,
        tenant_id: str,
        passwords: Mapping[str, str],
        connection_limit: int,
    ) -> None:
        """Keep the passwords of services other than the tenant service, by service."""
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
                    self._keys.seal(password, *_place(tenant_id, service, _FIRST_GENERATION)),
                    connection_limit,
                )
                for service, password in passwords.items()
            ],
        )

    async def of_tenant(self, connection: Connection, tenant_id: str) -> dict[str, Credential]:
        """Return the credentials of services other than the tenant service, by service."""
        rows = await connection.fetch(
            """
            SELECT service, generation, sealed, connection_limit
              FROM tenant_credentials
             WHERE tenant_id = $1
            """,
            tenant_id,
        )
        return {row["service"]: self._opened(row, tenant_id) for row in rows}

    async def insert_management(
        self,
        connection: Connection,
        passwords: Mapping[str, str],
        connection_limits: Mapping[str, int],
    ) -> None:
        """Keep passwords for the management database, where there is none yet."""
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
                    self._keys.seal(password, *_place("", service, _FIRST_GENERATION)),
                    connection_limits[service],
                )
                for service, password in passwords.items()
            ],
        )

    async def of_management(self, connection: Connection) -> dict[str, Credential]:
        """Return the credentials for the management database, by service."""
        rows = await connection.fetch(
            "SELECT service, generation, sealed, connection_limit FROM management_credentials"
        )
        return {row["service"]: self._opened(row, "") for row in rows}

    def _opened(self, row: asyncpg.Record, tenant_id: str) -> Credential:
        place = _place(tenant_id, row["service"], row["generation"])
        password = self._keys.open(row["sealed"], *place)
        return Credential(row["service"], password, row["connection_limit"])


def _place(tenant_id: str, service: str, generation: int) -> tuple[str, ...]:
    table = "tenant_credentials" if tenant_id else "management_credentials"
    return (table, tenant_id, service, str(generation))
