"""Creation, suspension and resumption of tenants."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias

from dataplane import audit
from servicekit.errors import DatabaseUnavailable
from tenant.domain.migrations import unpublished_services
from tenant.domain.tenants import Tenant, TenantState
from tenant.errors import (
    MigrationsUnpublished,
    RequestIdReused,
    ServerUnavailable,
    TenantBusy,
    TenantExists,
    TenantNotFound,
    TenantNotReady,
)
from tenant.operations.saga import tenant_lock
from tenant.store import databases, operations, published_migrations, tenants
from tenant.store.locks import LockHeld

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Mapping

    from dataplane.pools import Connection
    from dataplane.tenants import ManagementPool
    from tenant.creation import TenantActivation, TenantCreation
    from tenant.domain.operations import Operation
    from tenant.operations.runner import OperationRunner
    from tenant.provisioning import Provisioning
    from tenant.store.locks import AdvisoryLocks
    from tenant.store.server import ProvisionedServer

_log = logging.getLogger(__name__)
_WAIT_SECONDS = 10.0
_Asked: TypeAlias = "tuple[str, str, Mapping[str, str]]"
"""What a creation asks for: the tenant's id, its name, and labels of the server."""


class Tenants:
    """Changes the state of tenants, each under its advisory lock."""

    def __init__(
        self,
        management: ManagementPool,
        locks: AdvisoryLocks,
        runner: OperationRunner,
        creation: TenantCreation,
        activation: TenantActivation,
        provisioning: Provisioning,
        required_services: Collection[str],
    ) -> None:
        self._management = management
        self._locks = locks
        self._runner = runner
        self._creation = creation
        self._activation = activation
        self._provisioning = provisioning
        self._required_services = required_services

    async def create(
        self, tenant_id: str, request_id: str, name: str, labels: Mapping[str, str] | None = None
    ) -> Tenant:
        """Create a tenant, or finish its creation that the same request began.

        That is an operation, which goes on without the caller. Its server is one that has `labels`.
        Raises TenantExists, RequestIdReused, MigrationsUnpublished, MigrationFailed, NoServerFree,
        OperationFailed and ServerUnavailable.
        """
        asked = (tenant_id, name, dict(labels or {}))
        async with self._management.transaction() as connection:
            tenant = await self._find_requested(connection, request_id, asked)
            if tenant is not None and tenant.state is not TenantState.CREATING:
                return tenant
            await self._check_published(connection)
            operation = await self._begin(connection, request_id, asked, tenant)
        await self._runner.run_to_end(operation)
        async with self._management.connection() as connection:
            tenant = await tenants.find(connection, tenant_id)
        if tenant is None:
            raise TenantNotFound(tenant_id)
        return tenant

    async def rename(self, tenant_id: str, name: str) -> Tenant:
        """Change the name shown to people. Raises TenantNotFound."""
        async with self._management.transaction() as connection:
            renamed = await tenants.rename(connection, tenant_id, name)
            if renamed is None:
                raise TenantNotFound(tenant_id)
            await audit.append(connection, "tenant.update", "tenant", tenant_id)
        return renamed

    async def suspend(self, tenant_id: str) -> Tenant:
        """Refuse connections to a tenant's database, and terminate those there are.

        Raises TenantNotFound, TenantNotReady, ServerUnavailable.
        """
        async with self._holding(tenant_id) as connection:
            tenant = await self._find_created(connection, tenant_id)
            if tenant.state is TenantState.ACTIVE:
                tenant = await self._mark_suspended(connection, tenant)
            # Also for a suspended tenant: the process that did that may have died before this.
            await self._refuse_connections(tenant)
            return tenant

    async def resume(self, tenant_id: str) -> Tenant:
        """Migrate a tenant's database and accept connections; on failure it stays suspended.

        Raises TenantNotFound, TenantNotReady, MigrationFailed, ServerLost and ServerUnavailable.
        """
        async with self._holding(tenant_id) as connection:
            tenant = await self._find_created(connection, tenant_id)
            if tenant.state is TenantState.ACTIVE:
                return tenant
            await self._provisioning.open(tenant.server_id, tenant.database)
            try:
                return await self._activation.run(connection, tenant, "tenant.resume")
            except BaseException:
                await asyncio.shield(self._refuse_connections(tenant))
                raise

    async def enforce_suspensions(self, server: ProvisionedServer) -> None:
        """Refuse connections to databases of a server that are to be closed and accept them.

        They do where a process died in the middle of a suspension, deletion or resumption. One that
        cannot be closed is logged, and keeps no other open. Raises ServerUnavailable.
        """
        async with self._management.connection() as connection:
            known = await tenants.list_all(connection)
        async with server.provisioner() as provisioner:
            accepting = await databases.accepting_connections(provisioner)
        for tenant in known:
            if (
                tenant.state.closed
                and tenant.was_active
                and tenant.server_id == server.server_id
                and tenant.database.name in accepting
            ):
                await self._enforce_suspension(tenant.tenant_id)

    async def _enforce_suspension(self, tenant_id: str) -> None:
        try:
            async with self._holding(tenant_id) as connection:
                tenant = await tenants.find(connection, tenant_id)
                if tenant is not None and tenant.state.closed:
                    await self._refuse_connections(tenant)
        except TenantBusy:
            return  # who changes it closes it
        except (DatabaseUnavailable, ServerUnavailable):
            raise
        except Exception:
            _log.exception(
                "a database that is to be closed is open",
                extra={"event": "tenant.not_closed", "tenant_id": tenant_id},
            )

    @asynccontextmanager
    async def _holding(self, tenant_id: str) -> AsyncGenerator[Connection]:
        """Hold a tenant's lock for the block. Raises TenantBusy."""
        try:
            async with self._locks.holding(tenant_lock(tenant_id), _WAIT_SECONDS) as connection:
                yield connection
        except LockHeld:
            async with self._management.connection() as connection:
                running = await operations.find_running(connection, tenant_id)
            raise TenantBusy(tenant_id, running.operation_id if running else "") from None

    async def _find_requested(
        self, connection: Connection, request_id: str, asked: _Asked
    ) -> Tenant | None:
        """Return the tenant that this request created. Raises TenantExists, RequestIdReused."""
        tenant_id = asked[0]
        requested = await tenants.find_by_request_id(connection, request_id)
        if requested is None and await tenants.find(connection, tenant_id) is not None:
            # The same request may have created it between the two queries.
            requested = await tenants.find_by_request_id(connection, request_id)
            if requested is None:
                raise TenantExists(tenant_id)
        if requested is not None and asked != (
            requested.tenant_id,
            requested.name,
            requested.server_labels,
        ):
            raise RequestIdReused(request_id)
        return requested

    async def _begin(
        self, connection: Connection, request_id: str, asked: _Asked, tenant: Tenant | None
    ) -> Operation:
        """Begin a creation, or let one go on; in the caller's transaction."""
        tenant_id, name, labels = asked
        if tenant is None:
            tenant = await self._creation.begin(connection, tenant_id, request_id, name, labels)
        if tenant is None:  # another call has just used one of the ids
            tenant = await self._find_requested(connection, request_id, asked)
        if tenant is None:
            raise RequestIdReused(request_id)
        return await self._creation.operation(connection, tenant)

    async def _check_published(self, connection: Connection) -> None:
        published = await published_migrations.list_all(connection)
        missing = unpublished_services(published, self._required_services)
        if missing:
            raise MigrationsUnpublished(missing)

    async def _find_created(self, connection: Connection, tenant_id: str) -> Tenant:
        tenant = await tenants.find(connection, tenant_id)
        if tenant is None:
            raise TenantNotFound(tenant_id)
        if tenant.state in (TenantState.CREATING, TenantState.DELETED, TenantState.PURGING):
            raise TenantNotReady(tenant_id, tenant.state)
        return tenant

    async def _mark_suspended(self, connection: Connection, tenant: Tenant) -> Tenant:
        tenant_id, state = tenant.tenant_id, TenantState.SUSPENDED
        async with connection.transaction():
            suspended = await tenants.set_state(connection, tenant_id, state)
            if suspended is None:
                raise TenantNotFound(tenant_id)
            details = {"generation": suspended.generation}
            await audit.append(connection, "tenant.suspend", "tenant", tenant_id, details)
        return suspended

    async def _refuse_connections(self, tenant: Tenant) -> None:
        await self._provisioning.close(tenant.server_id, tenant.database)
