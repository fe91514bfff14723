"""The operations that make a new tenant: of a backup, or of another tenant's data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenant.app.backup_creation import backups_lock
from tenant.app.backup_loading import known_of_log
from tenant.domain.backups import BackupKind, NewTenant
from tenant.domain.operations import RESULT, OperationKind
from tenant.domain.tenants import TenantState
from tenant.errors import TenantExists, TenantNotFound
from tenant.operations.saga import Saga, Step
from tenant.store import tenants

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataplane.pools import Connection
    from tenant.app.backup_creation import BackupCreation
    from tenant.app.backup_loading import BackupLoading
    from tenant.app.backup_restoration import RestorationInPlace
    from tenant.app.new_tenants import NewTenants
    from tenant.domain.operations import Operation
    from tenant.domain.tenants import Tenant
    from tenant.peers.objects import TenantObjects
    from tenant.store.locks import AdvisoryLocks

    Notes = Mapping[str, object]


class TenantCopying:
    """Makes a tenant of a backup; its row is there from the beginning, in state `creating`."""

    def __init__(
        self,
        loading: BackupLoading,
        new_tenants: NewTenants,
        objects: TenantObjects,
    ) -> None:
        self._loading = loading
        self._new_tenants = new_tenants
        self._objects = objects

    async def insert(self, connection: Connection, operation: Operation) -> None:
        """Insert the tenant's row if a failure has removed it.

        Raises TenantExists, NoServerFree.
        """
        if await self._new_tenants.find(connection, operation) is not None:
            return
        given = operation.arguments
        new = NewTenant(operation.tenant_id, str(given["name"]), str(given["server_id"]))
        async with connection.transaction():
            await self._new_tenants.insert(connection, new, operation, _source(operation))

    async def check(self, connection: Connection, operation: Operation) -> None:
        """Verify that the backup can be restored."""
        await self._loading.check(connection, backup_of(operation))

    async def load(self, connection: Connection, operation: Operation) -> None:
        """Load the backup into the tenant's database, unless the tenant is active already."""
        tenant = await _found(connection, operation)
        if tenant.state is not TenantState.CREATING:
            return
        await self._loading.load(
            connection,
            operation,
            backup_of(operation),
            tenant.server_id,
            tenant.database,
            await self._new_tenants.passwords(connection, tenant),
        )

    async def put_objects(self, connection: Connection, operation: Operation) -> None:
        """Store the backup's objects for the tenant."""
        await self._loading.put_objects(
            connection, operation, backup_of(operation), operation.tenant_id
        )

    async def activate(self, connection: Connection, operation: Operation) -> Mapping[str, object]:
        """Make the tenant active, and have services look at its database."""
        tenant = await _found(connection, operation)
        if tenant.state is TenantState.CREATING:
            _, manifest = await self._loading.check(connection, backup_of(operation))
            is_clone = operation.kind is OperationKind.CLONE_TENANT
            passwords = await self._new_tenants.passwords(connection, tenant)
            await self._loading.name_tenant(
                tenant.server_id, tenant.database, passwords["tenant"], tenant.tenant_id
            )
            await self._new_tenants.activate(
                connection,
                tenant,
                manifest.path_prefix,
                known_of_log(manifest.content),
                "tenant.clone" if is_clone else "backup.restore",
            )
        return {RESULT: {"tenant_id": tenant.tenant_id, "database": tenant.database.name}}

    async def remove(self, connection: Connection, operation: Operation) -> None:
        """Remove all that was made of a tenant that has not become active."""
        try:
            tenant = await self._new_tenants.find(connection, operation)
        except TenantExists:
            return  # another request's
        if tenant is None or tenant.state is not TenantState.CREATING:
            return
        await self._objects.remove_all(tenant.tenant_id)
        await self._loading.end_sessions(tenant.server_id, tenant.database)
        await self._new_tenants.remove(connection, tenant)


class TenantCloning:
    """Clones tenants: a backup that nobody sees is made, copied to a new tenant, and deleted."""

    def __init__(
        self, locks: AdvisoryLocks, creation: BackupCreation, copying: TenantCopying
    ) -> None:
        self._locks = locks
        self._creation = creation
        self._copying = copying

    def saga(self) -> Saga:
        """Return what the operation does; the id of its backup is its own."""
        return Saga(
            kind=OperationKind.CLONE_TENANT,
            steps=(
                Step("row", self._copying.insert),
                Step("backup", self._back_up),
                Step("load", self._copying.load),
                Step("objects", self._copying.put_objects),
                Step("activation", self._copying.activate),
                Step("clean_up", self._remove_backup),
            ),
            undo=self._undo,
            undo_on_failure=True,
            final="activation",
        )

    async def _back_up(self, connection: Connection, operation: Operation) -> None:
        source = _source(operation)
        async with self._locks.holding(backups_lock(source)):
            await self._creation.write(connection, operation, source, BackupKind.CLONE)

    async def _remove_backup(self, connection: Connection, operation: Operation) -> None:
        async with self._locks.holding(backups_lock(_source(operation))):
            await self._creation.remove(connection, operation)

    async def _undo(self, connection: Connection, operation: Operation) -> None:
        await self._copying.remove(connection, operation)
        await self._remove_backup(connection, operation)


class BackupRestoration:
    """Restores backups: in the place of the tenant's data, or as a new tenant."""

    def __init__(self, in_place: RestorationInPlace, copying: TenantCopying) -> None:
        self._in_place = in_place
        self._copying = copying

    def saga(self) -> Saga:
        """Return what the operation does, under the lock of the tenant that is restored."""
        return Saga(
            kind=OperationKind.RESTORE_BACKUP,
            steps=(
                Step("row", self._insert),
                Step("check", self._check),
                Step("load", self._load),
                Step("objects", self._put_objects),
                Step("place", self._place),
                Step("clean_up", self._clean_up),
            ),
            undo=self._undo,
            undo_on_failure=True,
            final="place",
        )

    async def _insert(self, connection: Connection, operation: Operation) -> None:
        if _makes_tenant(operation):
            await self._copying.insert(connection, operation)

    async def _check(self, connection: Connection, operation: Operation) -> Notes:
        if not _makes_tenant(operation):
            return await self._in_place.check(connection, operation)
        await self._copying.check(connection, operation)
        return {}

    async def _load(self, connection: Connection, operation: Operation) -> None:
        way = self._copying if _makes_tenant(operation) else self._in_place
        await way.load(connection, operation)

    async def _put_objects(self, connection: Connection, operation: Operation) -> None:
        way = self._copying if _makes_tenant(operation) else self._in_place
        await way.put_objects(connection, operation)

    async def _place(self, connection: Connection, operation: Operation) -> Notes:
        if _makes_tenant(operation):
            return await self._copying.activate(connection, operation)
        await self._in_place.place(connection, operation)
        return {}

    async def _clean_up(self, connection: Connection, operation: Operation) -> Notes:
        if _makes_tenant(operation):
            return {}
        return await self._in_place.clean_up(connection, operation)

    async def _undo(self, connection: Connection, operation: Operation) -> None:
        if _makes_tenant(operation):
            await self._copying.remove(connection, operation)
        else:
            await self._in_place.undo(connection, operation)


def backup_of(operation: Operation) -> str:
    """Return the id of the backup that an operation restores; a clone's is its own."""
    return str(operation.arguments.get("backup_id", operation.operation_id))


async def _found(connection: Connection, operation: Operation) -> Tenant:
    tenant = await tenants.find(connection, operation.tenant_id)
    if tenant is None:
        raise TenantNotFound(operation.tenant_id)
    return tenant


def _source(operation: Operation) -> str:
    return str(operation.arguments["source_tenant_id"])


def _makes_tenant(operation: Operation) -> bool:
    return "source_tenant_id" in operation.arguments
