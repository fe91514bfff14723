"""The database servers of the installation, each with the provisioner's connections to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenant.domain.databases import Database
from tenant.domain.servers import MAIN, ServerState
from tenant.errors import ServerNotFound
from tenant.errors.moves import ServerLost
from tenant.store import servers
from tenant.store.server import ProvisionedServer

if TYPE_CHECKING:
    from dataplane.tenants import ManagementPool
    from tenant.config import ProvisionerAddress
    from tenant.domain.encryption import KeyRing

_CONNECTIONS = 4


class DatabaseServers:
    """Finds a server by its id.

    The address of `main` is a setting; the others' are in the table `db_servers`, encrypted.
    """

    def __init__(
        self, main: ProvisionedServer, management: ManagementPool, key_ring: KeyRing
    ) -> None:
        self.main = main
        self._management = management
        self._key_ring = key_ring
        self._others: dict[str, tuple[int, ProvisionedServer]] = {}

    async def of(self, server_id: str) -> ProvisionedServer:
        """Return a server; it need not be reachable.

        Raises ServerNotFound, ServerLost, DatabaseUnavailable.
        """
        if server_id == MAIN:
            return self.main
        async with self._management.connection() as connection:
            found = await servers.generation(connection, server_id)
            if found is None:
                await self._forget(server_id)
                raise ServerNotFound(server_id)
            generation, state = found
            if state is ServerState.LOST:
                await self._forget(server_id)
                raise ServerLost(server_id)
            known = self._others.get(server_id)
            if known is not None and known[0] == generation:
                return known[1]
            generation, address = await servers.address(connection, self._key_ring, server_id)
        known = self._others.get(server_id)  # another task may have been faster
        if known is not None and known[0] >= generation:
            return known[1]
        server = self.at(server_id, address)
        self._others[server_id] = generation, server
        if known is not None:
            await known[1].close()
        return server

    async def unless_lost(self, server_id: str) -> ProvisionedServer | None:
        """Do as `of`; None for a server that is lost, where nothing is left to close or drop."""
        try:
            return await self.of(server_id)
        except ServerLost:
            return None

    def at(self, server_id: str, address: ProvisionerAddress) -> ProvisionedServer:
        """Return a server that need not be registered; the caller closes it."""
        names = Database(self.main.management.name)
        return ProvisionedServer(server_id, address, _CONNECTIONS, names)

    async def all_ids(self) -> list[str]:
        """Return the ids of all registered servers, sorted. Raises DatabaseUnavailable."""
        async with self._management.connection() as connection:
            return await servers.all_ids(connection)

    async def _forget(self, server_id: str) -> None:
        """Close the connections to a server that was unregistered, or is lost."""
        _, server = self._others.pop(server_id, (0, None))
        if server is not None:
            await server.close()

    async def close(self) -> None:
        """Close the provisioner's connections to all servers but `main`."""
        for _, server in self._others.values():
            await server.close()
        self._others.clear()
