"""Tenants come into being, are suspended, and resume."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from dataplane import audit
from tenant.domain.migrations import unpublished_services
from tenant.domain.tenants import Tenant, TenantState
from tenant.errors import (
    MigrationsUnpublished,
    RequestIdReused,
    TenantExists,
    TenantNotFound,
    TenantNotReady,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from dataplane.pools import Connection
    from dataplane.tenants import ManagementPool
    from tenant.saga import Activation, Creation
    from tenant.store.locks import Locks
    from tenant.store.server import Server
    from tenant.store.stores import Stores


def lock_name(tenant_id: str) -> str:
    """Name the lock under which a tenant and its database change."""
    return f"tenant/{tenant_id}"


class Tenants:
    def __init__(
        self,
        management: ManagementPool,
        locks: Locks,
        creation: Creation,
        activation: Activation,
        server: Server,
        stores: Stores,
        required_services: Collection[str],
    ) -> None:
        self._management = management
        self._locks = locks
        self._creation = creation
        self._activation = activation
        self._server = server
        self._stores = stores
        self._required_services = required_services

    async def create(self, tenant_id: str, request_id: str, name: str) -> Tenant:
        """Create a tenant, or finish what the same request began.

        Raises TenantExists, RequestIdReused, MigrationsUnpublished, MigrationFailed and
        ServerUnavailable.
        """
        async with self._management.connection() as connection:
            known = await self._find_same(connection, tenant_id, request_id, name)
        if known is not None and known.state is not TenantState.CREATING:
            return known
        async with self._locks.holding(lock_name(tenant_id)) as connection:
            tenant = await self._find_same(connection, tenant_id, request_id, name)
            if tenant is None or tenant.state is TenantState.CREATING:
                await self._check_published(connection)
            if tenant is None:
                tenant = await self._begin(connection, tenant_id, request_id, name)
            if tenant.state is TenantState.CREATING:
                tenant = await self._creation.finish(connection, tenant)
            return tenant

    async def suspend(self, tenant_id: str) -> Tenant:
        """Close a tenant's database. Raises TenantNotFound, TenantNotReady, ServerUnavailable."""
        async with self._locks.holding(lock_name(tenant_id)) as connection:
            tenant = await self._find_created(connection, tenant_id)
            if tenant.state is TenantState.ACTIVE:
                tenant = await self._mark_suspended(connection, tenant)
            # Also when it was suspended: whoever did that may have died before this.
            await self._close(tenant)
            return tenant

    async def resume(self, tenant_id: str) -> Tenant:
        """Open a tenant's database, up to date; when that fails it stays closed.

        Raises TenantNotFound, TenantNotReady, MigrationFailed and ServerUnavailable.
        """
        async with self._locks.holding(lock_name(tenant_id)) as connection:
            tenant = await self._find_created(connection, tenant_id)
            if tenant.state is TenantState.ACTIVE:
                return tenant
            async with self._server.provisioning(tenant.database.steward) as provisioner:
                await self._stores.databases.open(provisioner, tenant.database)
            try:
                return await self._activation.run(connection, tenant, "tenant.resume")
            except BaseException:
                await asyncio.shield(self._close(tenant))
                raise

    async def enforce(self) -> None:
        """Close what is suspended and open all the same: whoever closed or opened it has died."""
        async with self._management.connection() as connection:
            every = await self._stores.tenants.every(connection)
        async with self._server.provisioning() as provisioner:
            opened = await self._stores.databases.opened(provisioner)
        for tenant in every:
            if tenant.state is TenantState.SUSPENDED and tenant.database.name in opened:
                await self._enforce(tenant.tenant_id)

    async def _enforce(self, tenant_id: str) -> None:
        async with self._locks.holding(lock_name(tenant_id)) as connection:
            tenant = await self._find_created(connection, tenant_id)
            if tenant.state is TenantState.SUSPENDED:
                await self._close(tenant)

    async def _find_same(
        self, connection: Connection, tenant_id: str, request_id: str, name: str
    ) -> Tenant | None:
        """Return what this very request created. Raises TenantExists, RequestIdReused."""
        tenants = self._stores.tenants
        requested = await tenants.find_by_request(connection, request_id)
        if requested is None and await tenants.find(connection, tenant_id) is not None:
            # The same request may have made it between the two looks.
            requested = await tenants.find_by_request(connection, request_id)
            if requested is None:
                raise TenantExists(tenant_id)
        if requested is not None and (requested.tenant_id, requested.name) != (tenant_id, name):
            raise RequestIdReused(request_id)
        return requested

    async def _begin(
        self, connection: Connection, tenant_id: str, request_id: str, name: str
    ) -> Tenant:
        tenant = await self._creation.begin(connection, tenant_id, request_id, name)
        if tenant is None:  # another tenant's creation has just used the request id
            raise RequestIdReused(request_id)
        return tenant

    async def _check_published(self, connection: Connection) -> None:
        published = await self._stores.migrations.every(connection)
        missing = unpublished_services(published, self._required_services)
        if missing:
            raise MigrationsUnpublished(missing)

    async def _find_created(self, connection: Connection, tenant_id: str) -> Tenant:
        tenant = await self._stores.tenants.find(connection, tenant_id)
        if tenant is None:
            raise TenantNotFound(tenant_id)
        if tenant.state is TenantState.CREATING:
            raise TenantNotReady(tenant_id, tenant.state)
        return tenant

    async def _mark_suspended(self, connection: Connection, tenant: Tenant) -> Tenant:
        tenant_id, state = tenant.tenant_id, TenantState.SUSPENDED
        async with connection.transaction():
            suspended = await self._stores.tenants.change_state(connection, tenant_id, state)
            if suspended is None:
                raise TenantNotFound(tenant_id)
            details = {"generation": suspended.generation}
            await audit.append(connection, "tenant.suspend", "tenant", tenant_id, details)
        return suspended

    async def _close(self, tenant: Tenant) -> None:
        async with self._server.provisioning(tenant.database.steward) as provisioner:
            await self._stores.databases.close(provisioner, tenant.database)
