"""Where and as whom a service connects to a database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataplane.connection_parameters import ConnectionParameters
from dataplane.databases import MANAGEMENT
from tenant.domain.databases import SERVICES
from tenant.domain.tenants import TenantState
from tenant.errors import MigrationsUnpublished, TenantBehind, TenantNotFound, TenantNotReady
from tenant.store import (
    credentials,
    next_credentials,
    published_migrations,
    schema_states,
    servers,
    tenants,
)

if TYPE_CHECKING:
    from dataplane.pools import Connection
    from dataplane.tenants import ManagementPool
    from tenant.domain.encryption import KeyRing
    from tenant.domain.tenants import Tenant
    from tenant.store.server import ProvisionedServer

_OWN_CONNECTIONS = 4  # at most, of this process to a tenant's database


class ConnectionResolver:
    """Finds the address, role and password for a tenant's database or the management database."""

    def __init__(
        self,
        management: ManagementPool,
        server: ProvisionedServer,
        key_ring: KeyRing,
        connections_per_role: int,
        processes: int,
    ) -> None:
        self._management = management
        self._server = server
        self._key_ring = key_ring
        self._processes = processes
        self._own_connections = min(self._share(connections_per_role), _OWN_CONNECTIONS)

    async def resolve(
        self, service: str, tenant_id: str, least_migration: int = 0
    ) -> ConnectionParameters:
        """Return how a service connects to a tenant's database; to the management one when empty.

        `connection_limit` is one process's share of the limit of the service's role. Raises
        TenantNotFound, TenantNotReady, TenantBehind, MigrationsUnpublished.
        """
        async with self._management.connection() as connection:
            if not await published_migrations.any_of_service(connection, service):
                raise MigrationsUnpublished([service])
            if not tenant_id:
                return await self._management_parameters(connection, service)
            tenant = await self._active(connection, tenant_id)
            applied = (await schema_states.applied_numbers(connection, tenant_id)).get(service, 0)
            if applied < least_migration:
                raise TenantBehind(tenant_id, service, applied, least_migration)
            following = await self._next(connection, tenant, service)
            found = await credentials.of_tenant(connection, self._key_ring, tenant_id)
            password, limit = found[service].password, self._share(found[service].connection_limit)
            logins = (password, following)
            return await self._parameters(connection, tenant, service, logins, limit)

    async def own(self, tenant_id: str) -> ConnectionParameters:
        """Return how the tenant service itself connects. Raises TenantNotFound, TenantNotReady."""
        async with self._management.connection() as connection:
            tenant = await self._active(connection, tenant_id)
            following = await self._next(connection, tenant, "tenant")
            password = await credentials.own_password(connection, self._key_ring, tenant_id)
            logins = (password, following)
            return await self._parameters(
                connection, tenant, "tenant", logins, self._own_connections
            )

    async def _next(self, connection: Connection, tenant: Tenant, service: str) -> str:
        """Return the password that a role is being given, or nothing.

        It is read before the present one: so one of the two is right, whatever happens in between.
        """
        place = (tenant.tenant_id, tenant.server_id, tenant.database.name)
        found = await next_credentials.of_place(connection, self._key_ring, *place)
        return found.get(service, "")

    async def _active(self, connection: Connection, tenant_id: str) -> Tenant:
        tenant = await tenants.find(connection, tenant_id)
        if tenant is None:
            raise TenantNotFound(tenant_id)
        if tenant.state is not TenantState.ACTIVE:
            raise TenantNotReady(tenant_id, tenant.state)
        return tenant

    async def _parameters(
        self,
        connection: Connection,
        tenant: Tenant,
        service: str,
        passwords: tuple[str, str],
        connection_limit: int,
    ) -> ConnectionParameters:
        host, port, budget = await servers.endpoint(connection, tenant.server_id)
        return ConnectionParameters(
            host=host,
            port=port,
            database=tenant.database.name,
            user=tenant.database.runtime(service),
            password=passwords[0],
            generation=tenant.generation,
            connection_limit=connection_limit,
            server_id=tenant.server_id,
            server_limit=self._server_share(budget),
            next_password=passwords[1],
        )

    async def _management_parameters(
        self, connection: Connection, service: str
    ) -> ConnectionParameters:
        place = (MANAGEMENT, self._server.server_id, self._server.management.name)
        following = await next_credentials.of_place(connection, self._key_ring, *place)
        found = (await credentials.of_management(connection, self._key_ring))[service]
        _, _, budget = await servers.endpoint(connection, self._server.server_id)
        return ConnectionParameters(
            host=self._server.host,
            port=self._server.port,
            database=self._server.management.name,
            user=self._server.management.runtime(service),
            password=found.password,
            generation=0,
            connection_limit=self._share(found.connection_limit),
            server_id=self._server.server_id,
            server_limit=self._server_share(budget),
            next_password=following.get(service, ""),
        )

    def _server_share(self, budget: int) -> int:
        """Return how many connections one process of a service may open to a server; 0 for any."""
        return max(1, budget // (self._processes * len(SERVICES))) if budget else 0

    def _share(self, connection_limit: int) -> int:
        """Return how many of a role's connections one process may open."""
        return max(1, connection_limit // self._processes)
