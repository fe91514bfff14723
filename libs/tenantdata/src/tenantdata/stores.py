"""Stores in which services keep something of tenants, outside of the tenants' databases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from dataplane.tenants import ManagementPool


class TenantStore(Protocol):
    """A place where a service keeps something of tenants. Methods raise DomainError."""

    name: str
    method: str
    """How things are removed from it."""

    async def count(self, tenant_id: str) -> int:
        """Return how many things there are of a tenant."""
        ...

    def remove(self, tenant_id: str) -> AsyncIterator[int]:
        """Remove all of them for ever; yield from time to time how many are removed."""
        ...

    def tenant_ids(self) -> AsyncIterator[str]:
        """Yield the ids of the tenants of which there is anything, each once."""
        ...

    async def unproven(self, tenant_id: str) -> Sequence[str]:
        """Return what an empty store does not prove, as sentences."""
        ...


class ManagementRows:
    """The rows of a table of the management database that names tenants in `tenant_id`."""

    method = "DELETE"

    def __init__(self, table: str, management: ManagementPool) -> None:
        self.name = f"rows of {table} in the management database"
        self._table = table
        self._management = management

    async def count(self, tenant_id: str) -> int:
        sql = f"SELECT count(*) FROM {self._table} WHERE tenant_id = $1"
        async with self._management.connection() as connection:
            return await connection.fetchval(sql, tenant_id)

    async def remove(self, tenant_id: str) -> AsyncIterator[int]:
        sql = f"DELETE FROM {self._table} WHERE tenant_id = $1 RETURNING 1"
        async with self._management.connection() as connection:
            yield len(await connection.fetch(sql, tenant_id))

    async def tenant_ids(self) -> AsyncIterator[str]:
        sql = f"SELECT DISTINCT tenant_id FROM {self._table} ORDER BY tenant_id"
        async with self._management.connection() as connection:
            rows = await connection.fetch(sql)
        for row in rows:
            yield row["tenant_id"]

    async def unproven(self, tenant_id: str) -> Sequence[str]:
        del tenant_id
        return ()
