"""How services log in to the databases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataplane.pools import ConnectionParameters
from tenant.domain.tenants import TenantState
from tenant.errors import MigrationsUnpublished, TenantNotFound, TenantNotReady

if TYPE_CHECKING:
    from dataplane.pools import Connection
    from dataplane.tenants import ManagementPool
    from tenant.domain.tenants import Tenant
    from tenant.store.credentials import Credential
    from tenant.store.server import Server
    from tenant.store.stores import Stores


class Connections:
    def __init__(
        self,
        management: ManagementPool,
        server: Server,
        stores: Stores,
        own_connections: int,
        processes: int,
    ) -> None:
        self._management = management
        self._server = server
        self._stores = stores
        self._own_connections = own_connections
        self._processes = processes

    async def resolve(self, service: str, tenant_id: str) -> ConnectionParameters:
        """Return how a service logs in to a tenant's database; to the management one when empty.

        A process is told its share of the connections that the service's role may hold.
        Raises TenantNotFound, TenantNotReady, MigrationsUnpublished.
        """
        async with self._management.connection() as connection:
            if not await self._stores.migrations.has(connection, service):
                raise MigrationsUnpublished([service])
            if not tenant_id:
                return await self._to_management(connection, service)
            tenant = await self._active(connection, tenant_id)
            found = (await self._stores.credentials.of_tenant(connection, tenant_id))[service]
            return await self._target(
                connection, tenant, service, found.password, self._share(found)
            )

    async def own(self, tenant_id: str) -> ConnectionParameters:
        """Return how the tenant service itself logs in. Raises TenantNotFound, TenantNotReady."""
        async with self._management.connection() as connection:
            tenant = await self._active(connection, tenant_id)
            password = await self._stores.credentials.own_password(connection, tenant_id)
            return await self._target(connection, tenant, "tenant", password, self._own_connections)

    async def _active(self, connection: Connection, tenant_id: str) -> Tenant:
        tenant = await self._stores.tenants.find(connection, tenant_id)
        if tenant is None:
            raise TenantNotFound(tenant_id)
        if tenant.state is not TenantState.ACTIVE:
            raise TenantNotReady(tenant_id, tenant.state)
        return tenant

    async def _target(
        self,
        connection: Connection,
        tenant: Tenant,
        service: str,
        password: str,
        connection_limit: int,
    ) -> ConnectionParameters:
        host, port = await self._stores.installation.address(connection, tenant.server_id)
        return ConnectionParameters(
            host=host,
            port=port,
            database=tenant.database.name,
            user=tenant.database.runtime(service),
            password=password,
            generation=tenant.generation,
            connection_limit=connection_limit,
            server_id=tenant.server_id,
        )

    async def _to_management(self, connection: Connection, service: str) -> ConnectionParameters:
        found = (await self._stores.credentials.of_management(connection))[service]
        return ConnectionParameters(
            host=self._server.host,
            port=self._server.port,
            database=self._server.management.name,
            user=self._server.management.runtime(service),
            password=found.password,
            generation=0,
            connection_limit=self._share(found),
            server_id=self._server.server_id,
        )

    def _share(self, credential: Credential) -> int:
        """Return how many of a role's connections one process may hold."""
        return max(1, credential.connection_limit // self._processes)
