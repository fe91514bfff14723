"""The operation that makes a tenant of a bundle."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bundle.errors import BundleInvalid
from tenant.domain.audit import ChainLink
from tenant.domain.backups import NewTenant
from tenant.domain.databases import OPERATION
from tenant.domain.migrations import MigrationTarget
from tenant.domain.operations import RESULT, OperationKind
from tenant.domain.tenants import TenantState
from tenant.errors import TenantExists
from tenant.errors.transfers import BundleRefused
from tenant.operations.saga import Saga, Step
from tenant.store import identities, published_migrations, tenants
from tenant.transfer import loading
from tenant.transfer.sessions import table_sessions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from bundle.manifest import Manifest
    from dataplane.pools import Connection
    from tenant.app.bundles import Bundles
    from tenant.app.new_tenants import NewTenants
    from tenant.domain.operations import Operation
    from tenant.domain.schema import MigrationProgress
    from tenant.domain.tenants import Tenant
    from tenant.operations.operations import Operations
    from tenant.peers.objects import TenantObjects
    from tenant.provisioning import Provisioning
    from tenant.store.database_servers import DatabaseServers


class TenantImport:
    """Makes a tenant of a bundle; the tenant's lock is held meanwhile."""

    def __init__(
        self,
        bundles: Bundles,
        new_tenants: NewTenants,
        provisioning: Provisioning,
        servers: DatabaseServers,
        objects: TenantObjects,
        begun: Operations,
    ) -> None:
        self._bundles = bundles
        self._new_tenants = new_tenants
        self._provisioning = provisioning
        self._servers = servers
        self._objects = objects
        self._operations = begun

    def saga(self) -> Saga:
        """Return the steps, in their order."""
        return Saga(
            OperationKind.IMPORT_TENANT,
            (
                Step("verification", self.verify),
                Step("row", self.insert),
                Step("tables", self.load),
                Step("objects", self.put_objects),
                Step("activation", self.activate),
                Step("clean_up", self.clean_up),
            ),
            undo=self.undo,
            undo_on_failure=True,
            final="activation",
        )

    async def verify(self, connection: Connection, operation: Operation) -> None:
        """Verify the bundle, and whether it can be imported here. Nothing is made yet.

        Raises BundleNotFound, BundleRefused, BundleUnsuitable, TenantExists.
        """
        await _own_row(connection, operation)
        manifest = await self._bundles.verify(operation)
        published = await published_migrations.list_for(connection, MigrationTarget.TENANT)
        loading.migrations_of(manifest, published)

    async def insert(self, connection: Connection, operation: Operation) -> None:
        """Insert the tenant's row, with the prefix that the paths of its files keep."""
        if await _own_row(connection, operation) is not None:
            return
        manifest = await asyncio.to_thread(self._bundles.manifest, operation)
        name = str(operation.arguments["name"]) or manifest.tenant.name
        new = NewTenant(operation.tenant_id, name, str(operation.arguments["server_id"]))
        async with connection.transaction():
            await self._new_tenants.insert(connection, new, operation, "")
            await tenants.set_path_prefix(
                connection, operation.tenant_id, manifest.tenant.path_prefix
            )

    async def load(self, connection: Connection, operation: Operation) -> None:
        """Make the database, with the bundle's migrations, and load and compare the tables.

        What an interrupted attempt has left of it is dropped first. Raises BundleRefused,
        BundleUnsuitable, MigrationFailed, ServerUnavailable.
        """
        tenant = await self._tenant(connection, operation)
        if tenant.state is not TenantState.CREATING:
            return  # it may be in use by now
        manifest = await asyncio.to_thread(self._bundles.manifest, operation)
        await self._provisioning.drop(tenant.server_id, tenant.database)
        await self._create(connection, operation, tenant, manifest)
        total = sum(table.size_bytes for table in manifest.tables)
        server = await self._servers.of(tenant.server_id)
        try:
            async with table_sessions(server, tenant.database) as sessions:
                await loading.load_tables(
                    sessions,
                    self._bundles.source(operation),
                    manifest,
                    self._report(operation, total),
                )
        except BundleInvalid as error:
            raise BundleRefused(error.fault, error.entry, error.problem) from None

    async def put_objects(self, _: Connection, operation: Operation) -> None:
        """Have artifacts store the objects. Raises BundleRefused, and what it refuses."""
        manifest = await asyncio.to_thread(self._bundles.manifest, operation)
        if not manifest.objects.count:
            return
        report = self._report(operation, manifest.objects.size_bytes)
        parts = loading.object_parts(self._bundles.source(operation), manifest, report)
        try:
            await self._objects.store(operation.tenant_id, parts)
        except BundleInvalid as error:
            raise BundleRefused(error.fault, error.entry, error.problem) from None

    async def activate(
        self, connection: Connection, operation: Operation
    ) -> Mapping[str, object] | None:
        """Apply the migrations that were published since, and make the tenant active."""
        tenant = await self._tenant(connection, operation)
        if tenant.state is TenantState.CREATING:
            await self._insert_identity(connection, tenant)
            audit = (await asyncio.to_thread(self._bundles.manifest, operation)).audit
            head = ChainLink(audit.sequence, audit.digest)
            await self._new_tenants.activate(
                connection, tenant, tenant.path_prefix, head, "tenant.import"
            )
        return {RESULT: {"tenant_id": tenant.tenant_id, "database": tenant.database.name}}

    async def clean_up(self, _: Connection, operation: Operation) -> None:
        """Remove the bundle."""
        self._bundles.remove(operation)

    async def undo(self, connection: Connection, operation: Operation) -> None:
        """Remove all that was made: objects, database, roles, row."""
        tenant = await tenants.find(connection, operation.tenant_id)
        if tenant is None or not _is_of(operation, tenant):
            return
        if tenant.state is not TenantState.CREATING:
            return  # it was active: from then on only a purge removes it
        await self._objects.remove_all(operation.tenant_id)
        await self._new_tenants.remove(connection, tenant)

    async def _insert_identity(self, connection: Connection, tenant: Tenant) -> None:
        """Note in the database whose it is."""
        server = await self._servers.of(tenant.server_id)
        passwords = await self._new_tenants.passwords(connection, tenant)
        role = tenant.database.runtime("tenant")
        own = await server.login(tenant.database.name, role, passwords["tenant"])
        try:
            await identities.insert(own, tenant.tenant_id)
        finally:
            own.terminate()

    async def _create(
        self, connection: Connection, operation: Operation, tenant: Tenant, manifest: Manifest
    ) -> MigrationProgress:
        published = await published_migrations.list_for(connection, MigrationTarget.TENANT)
        return await self._provisioning.create(
            connection,
            tenant.server_id,
            tenant.database,
            await self._new_tenants.passwords(connection, tenant),
            f"{OPERATION}{operation.operation_id}",
            loading.migrations_of(manifest, published),
        )

    async def _tenant(self, connection: Connection, operation: Operation) -> Tenant:
        tenant = await _own_row(connection, operation)
        if tenant is None:
            raise LookupError("the step before has inserted no tenant")
        return tenant

    def _report(self, operation: Operation, total: int) -> Callable[[int], Awaitable[None]]:
        async def report(done: int) -> None:
            await self._operations.progress(operation, done, total, "bytes")

        return report


async def _own_row(connection: Connection, operation: Operation) -> Tenant | None:
    """Return the row that an import has inserted. Raises TenantExists for another request's."""
    tenant = await tenants.find(connection, operation.tenant_id)
    if tenant is not None and not _is_of(operation, tenant):
        raise TenantExists(operation.tenant_id)
    return tenant


def _is_of(operation: Operation, tenant: Tenant) -> bool:
    return tenant.request_id == f"operation/{operation.operation_id}"
