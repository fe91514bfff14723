"""The operation that restores a backup in the place of its tenant's data."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tenant.app.backup_loading import known_of_log, noted
from tenant.domain.databases import Database
from tenant.domain.operations import RESULT
from tenant.domain.tenants import TenantState
from tenant.errors import TenantBusy, TenantNotFound, TenantNotReady
from tenant.move.reopening import reopen
from tenant.provisioning import new_logins
from tenant.store import tenants

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataplane.pools import Connection
    from dataplane.tenants import ManagementPool
    from tenant.app.backup_loading import BackupLoading
    from tenant.domain.operations import Operation
    from tenant.domain.tenants import Tenant
    from tenant.provisioning import Provisioning
    from tenant.signed_anchors import SignedAnchors

_RESTORABLE = (TenantState.ACTIVE, TenantState.SUSPENDED)


class RestorationInPlace:
    """Switches a tenant to a database made of a backup; its lock is held meanwhile.

    Until all is loaded and compared the tenant works on with its own database. Then that refuses
    connections, the registry names the new one, and the old one is dropped.
    """

    def __init__(
        self,
        management: ManagementPool,
        loading: BackupLoading,
        provisioning: Provisioning,
        anchors: SignedAnchors,
    ) -> None:
        self._management = management
        self._loading = loading
        self._provisioning = provisioning
        self._anchors = anchors

    async def check(self, connection: Connection, operation: Operation) -> Mapping[str, object]:
        """Verify that the backup can be restored; choose the new database."""
        tenant = await _restorable(connection, operation.tenant_id)
        await self._loading.check(connection, _backup_id(operation))
        server_id = str(operation.arguments["server_id"]) or tenant.server_id
        return {
            "old_server_id": tenant.server_id,
            "old_database": tenant.database.name,
            "old_manager": tenant.database.manager,
            **self._loading.new_database(server_id),
        }

    async def load(self, connection: Connection, operation: Operation) -> None:
        """Load the backup into the new database, and bring it to what is published."""
        server_id, database = _named(operation)
        await self._loading.load(
            connection,
            operation,
            _backup_id(operation),
            server_id,
            database,
            new_logins(),
        )

    async def put_objects(self, connection: Connection, operation: Operation) -> None:
        """Bring back the tenant's objects, under the keys that they had."""
        await self._loading.put_objects(
            connection, operation, _backup_id(operation), operation.tenant_id
        )

    async def place(self, connection: Connection, operation: Operation) -> None:
        """Switch the tenant to the new database, once that has every published migration."""
        _, database = _named(operation)
        tenant = await _restorable(connection, operation.tenant_id)
        if tenant.database == database:
            return  # it has been done
        if tenant.database != _old(operation)[1]:  # moved while this waited: undone, then anew
            raise TenantBusy(tenant.tenant_id, operation.operation_id)
        try:
            await self._place(connection, operation, tenant)
        except BaseException:
            # Also what a killed process has closed: it may take long until this succeeds.
            await asyncio.shield(self._reopen(tenant))
            raise

    async def _place(self, connection: Connection, operation: Operation, tenant: Tenant) -> None:
        server_id, database = _named(operation)
        passwords = new_logins()
        await self._provisioning.set_passwords(server_id, database, passwords)
        async with self._provisioning.session(server_id, database, passwords) as own:
            progress = await self._provisioning.migrate(connection, server_id, database, own)
            await self._provisioning.protect(own, server_id, database)
        await self._loading.name_tenant(server_id, database, passwords["tenant"], tenant.tenant_id)
        _, manifest = await self._loading.check(connection, _backup_id(operation))
        await self._anchors.note_head(
            connection, tenant.tenant_id, database.name, known_of_log(manifest.content)
        )
        await self._provisioning.mark(connection, server_id, database)
        # It may be what was lost: then nobody is in it, and nothing is to be closed.
        old = tenant.server_id, tenant.database
        if await self._provisioning.usable(*old):
            await self._provisioning.close(*old)
        await self._provisioning.place(
            connection,
            tenant,
            server_id,
            database,
            passwords,
            progress,
            "backup.restore",
            {"backup_id": _backup_id(operation)},
        )

    async def _reopen(self, tenant: Tenant) -> None:
        place = tenant.server_id, tenant.database
        await reopen(self._management, self._provisioning, tenant.tenant_id, *place)

    async def clean_up(self, connection: Connection, operation: Operation) -> Mapping[str, object]:
        """Drop the database that the tenant had, and have services look at the new one."""
        server_id, database = _named(operation)
        tenant = await tenants.find(connection, operation.tenant_id)
        if tenant is not None and tenant.database == database and tenant.state.closed:
            await self._provisioning.close(server_id, database)
        await self._provisioning.drop(*_old(operation))
        return {RESULT: {"tenant_id": operation.tenant_id, "database": database.name}}

    async def undo(self, connection: Connection, operation: Operation) -> None:
        """Let the tenant use its own database; drop the one of the two that is not its."""
        tenant = await tenants.find(connection, operation.tenant_id)
        named = noted(operation)
        if named is None:
            return
        if tenant is not None:
            await self._reopen(tenant)
        if tenant is None or tenant.database != named[1]:
            await self._loading.drop(operation)
        if tenant is None or tenant.database != _old(operation)[1]:
            await self._provisioning.drop(*_old(operation))


async def _restorable(connection: Connection, tenant_id: str) -> Tenant:
    tenant = await tenants.find(connection, tenant_id)
    if tenant is None:
        raise TenantNotFound(tenant_id)
    if tenant.state not in _RESTORABLE:
        raise TenantNotReady(tenant_id, tenant.state)
    return tenant


def _named(operation: Operation) -> tuple[str, Database]:
    named = noted(operation)
    if named is None:
        raise LookupError("no step before has named a database")
    return named


def _old(operation: Operation) -> tuple[str, Database]:
    """Return the server and the database that the tenant had at the beginning."""
    notes = operation.notes
    old = Database(str(notes["old_database"]), str(notes["old_manager"]))
    return str(notes["old_server_id"]), old


def _backup_id(operation: Operation) -> str:
    return str(operation.arguments["backup_id"])
