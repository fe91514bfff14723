"""What may be done with backups: the beginnings of their operations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from servicekit.call import current_principal
from servicekit.errors import PermissionDenied
from tenant.app import target_servers
from tenant.domain.backups import BackupKind, BackupState, folder_of
from tenant.domain.operations import OperationKind
from tenant.domain.tenants import TenantState
from tenant.errors import TenantNotFound, TenantNotReady
from tenant.errors.backups import BackupNotComplete, BackupNotFound, BackupsNotConfigured
from tenant.store import backups, tenants

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import timedelta

    from dataplane.pools import Connection
    from dataplane.tenants import ManagementPool
    from tenant.app.new_tenants import NewTenants
    from tenant.domain.backups import Backup, BackupSchedule, NewTenant
    from tenant.domain.operations import Operation
    from tenant.domain.tenants import Tenant
    from tenant.operations.operations import Operations

_RESTORABLE = (TenantState.ACTIVE, TenantState.SUSPENDED)
_TENANTS_WRITE = "tenants.write"


class Backups:
    """Begins backups, verifications, restorations and clones, each as an operation.

    `configured` is whether there is a storage for backups, and artifacts is known. Methods raise
    BackupsNotConfigured, RequestIdReused.
    """

    def __init__(
        self,
        management: ManagementPool,
        begun: Operations,
        new_tenants: NewTenants,
        *,
        configured: bool,
    ) -> None:
        self._management = management
        self._operations = begun
        self._new_tenants = new_tenants
        self._configured = configured

    async def create(
        self, tenant_id: str, request_id: str, keep_for: timedelta | None
    ) -> tuple[Backup | None, Operation]:
        """Begin a backup; None for one that is gone again.

        Raises TenantNotFound, TenantNotReady.
        """
        self.check_configured()
        async with self._management.transaction() as connection:
            arguments = _arguments(BackupKind.MANUAL, keep_for)
            known = await self._operations.known(
                connection, OperationKind.CREATE_BACKUP, tenant_id, request_id, arguments
            )
            if known is not None and known.ended:
                return await backups.find(connection, tenant_id, known.operation_id), known
            tenant = await _created(connection, tenant_id, (TenantState.ACTIVE,))
            begun = await self.begin_backup(
                connection, tenant, request_id, BackupKind.MANUAL, keep_for
            )
        self._operations.run(begun[1].operation_id)
        return begun

    async def create_scheduled(self, connection: Connection, schedule: BackupSchedule) -> Operation:
        """Begin the backup of a schedule that is due, in the caller's transaction."""
        tenant = await _created(connection, schedule.tenant_id, (TenantState.ACTIVE,))
        request_id = f"schedule/{schedule.tenant_id}/{schedule.next_time.timestamp():.6f}"
        _, operation = await self.begin_backup(
            connection,
            tenant,
            request_id,
            BackupKind.SCHEDULED,
            schedule.keep_for,
            verify=schedule.verify,
        )
        return operation

    async def verify(self, tenant_id: str, backup_id: str, request_id: str) -> Operation:
        """Begin to verify a backup. Raises BackupNotFound, BackupNotComplete."""
        self.check_configured()
        asked = (OperationKind.VERIFY_BACKUP, tenant_id, request_id, {"backup_id": backup_id})
        async with self._management.transaction() as connection:
            operation = await self._operations.known(connection, *asked)
            if operation is None:
                await _complete(connection, tenant_id, backup_id)
                operation = await self._operations.begin(connection, *asked)
        self._operations.run(operation.operation_id)
        return operation

    async def restore(
        self, tenant_id: str, backup_id: str, request_id: str, new: NewTenant
    ) -> Operation:
        """Begin to restore a backup: as `new`, or in place if that has no id.

        Raises BackupNotFound, BackupNotComplete, TenantNotFound, TenantNotReady, TenantExists,
        ServerNotFound, ServerUnsuitable, NoServerFree.
        """
        self.check_configured()
        kind, arguments = OperationKind.RESTORE_BACKUP, {"backup_id": backup_id}

        async def check(connection: Connection) -> None:
            await _complete(connection, tenant_id, backup_id)

        async with self._management.transaction() as connection:
            if new.tenant_id:
                operation = await self._begin_new_tenant(
                    connection, kind, request_id, new, tenant_id, arguments, check
                )
            else:
                asked = (kind, tenant_id, request_id, {**arguments, "server_id": new.server_id})
                operation = await self._operations.known(connection, *asked)
                if operation is None:
                    await check(connection)
                    tenant = await _created(connection, tenant_id, _RESTORABLE)
                    if new.server_id not in ("", tenant.server_id):
                        await target_servers.check(connection, tenant, new.server_id)
                    operation = await self._operations.begin(connection, *asked)
        self._operations.run(operation.operation_id)
        return operation

    async def clone(self, tenant_id: str, request_id: str, new: NewTenant) -> Operation:
        """Begin to make a new tenant of a tenant's data.

        Raises TenantNotFound, TenantNotReady, TenantExists, NoServerFree.
        """
        self.check_configured()

        async def check(connection: Connection) -> None:
            await _created(connection, tenant_id, (TenantState.ACTIVE,))

        async with self._management.transaction() as connection:
            operation = await self._begin_new_tenant(
                connection, OperationKind.CLONE_TENANT, request_id, new, tenant_id, {}, check
            )
        self._operations.run(operation.operation_id)
        return operation

    async def begin_backup(
        self,
        connection: Connection,
        tenant: Tenant,
        request_id: str,
        kind: BackupKind,
        keep_for: timedelta | None,
        *,
        verify: bool = False,
    ) -> tuple[Backup, Operation]:
        """Begin a backup in the caller's transaction."""
        operation = await self._operations.begin(
            connection,
            OperationKind.CREATE_BACKUP,
            tenant.tenant_id,
            request_id,
            _arguments(kind, keep_for, verify=verify),
        )
        backup = await backups.insert(
            connection, operation.operation_id, tenant.tenant_id, folder_of(tenant), kind, keep_for
        )
        return backup, operation

    async def _begin_new_tenant(
        self,
        connection: Connection,
        kind: OperationKind,
        request_id: str,
        new: NewTenant,
        source_tenant_id: str,
        arguments: Mapping[str, object],
        check: Callable[[Connection], Awaitable[None]],
    ) -> Operation:
        """Begin an operation that makes a tenant, and insert that, unless it has been done.

        `check` raises why it cannot begin.
        """
        principal = current_principal()
        if not principal.covers(new.tenant_id) or not principal.may(_TENANTS_WRITE):
            raise PermissionDenied(permission=_TENANTS_WRITE)
        given = {
            "source_tenant_id": source_tenant_id,
            "name": new.name,
            "server_id": new.server_id,
            **arguments,
        }
        asked = (kind, new.tenant_id, request_id, given)
        known = await self._operations.known(connection, *asked)
        if known is not None:
            return known
        await check(connection)
        operation = await self._operations.begin(connection, *asked)
        await self._new_tenants.insert(connection, new, operation, source_tenant_id)
        return operation

    def check_configured(self) -> None:
        """Raise BackupsNotConfigured unless backups can be made."""
        if not self._configured:
            raise BackupsNotConfigured


def _arguments(
    kind: BackupKind, keep_for: timedelta | None, *, verify: bool = False
) -> dict[str, object]:
    seconds = None if keep_for is None else int(keep_for.total_seconds())
    return {"kind": kind.value, "keep_seconds": seconds, "verify": verify}


async def _created(
    connection: Connection, tenant_id: str, states: tuple[TenantState, ...]
) -> Tenant:
    """Return a tenant in one of these states. Raises TenantNotFound, TenantNotReady."""
    tenant = await tenants.find(connection, tenant_id)
    if tenant is None:
        raise TenantNotFound(tenant_id)
    if tenant.state not in states:
        raise TenantNotReady(tenant_id, tenant.state)
    return tenant


async def _complete(connection: Connection, tenant_id: str, backup_id: str) -> Backup:
    """Return a backup that can be restored. Raises BackupNotFound, BackupNotComplete."""
    backup = await backups.find(connection, tenant_id, backup_id)
    if backup is None:
        raise BackupNotFound(backup_id)
    if backup.state is not BackupState.COMPLETE:
        raise BackupNotComplete(backup_id, backup.state)
    return backup
