"""The operation that makes a backup."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from dataplane import audit
from tenant.domain.audit import ChainLink
from tenant.domain.backups import BackupKind, folder_of
from tenant.domain.operations import RESULT, OperationKind
from tenant.domain.tenants import TenantState
from tenant.errors import TenantNotFound, TenantNotReady
from tenant.operations.saga import Saga, Step, tenant_lock
from tenant.store import backups, tenants

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataplane.pools import Connection
    from tenant.app.backup_files import BackupFiles
    from tenant.app.backup_writer import BackupWriter
    from tenant.domain.operations import Operation
    from tenant.domain.tenants import Tenant
    from tenant.operations.operations import Operations
    from tenant.signed_anchors import SignedAnchors
    from tenant.store.locks import AdvisoryLocks


def backups_lock(tenant_id: str) -> str:
    """Return the name of the advisory lock for what changes the files of a tenant's backups."""
    return f"backups/{tenant_id}"


class BackupCreation:
    """Makes backups. What fails or is cancelled leaves neither a row nor files.

    The tenant's own lock is held only while its database is read: then nothing migrates, suspends
    or moves it. Copying its files takes longer and needs no lock.
    """

    def __init__(
        self,
        locks: AdvisoryLocks,
        writer: BackupWriter,
        files: BackupFiles,
        begun: Operations,
        anchors: SignedAnchors,
    ) -> None:
        self._locks = locks
        self._writer = writer
        self._files = files
        self._operations = begun
        self._anchors = anchors

    def saga(self) -> Saga:
        """Return what the operation does; the backup's id is the operation's."""
        return Saga(
            kind=OperationKind.CREATE_BACKUP,
            steps=(Step("write", self._write),),
            undo=self.remove,
            undo_on_failure=True,
            lock=lambda operation: backups_lock(operation.tenant_id),
        )

    async def write(
        self, connection: Connection, operation: Operation, tenant_id: str, kind: BackupKind
    ) -> None:
        """Make a backup, and record that it is complete.

        Raises TenantNotFound, TenantNotReady, and what BackupWriter raises.
        """
        tenant = await _active(connection, tenant_id)
        backup = await backups.insert(
            connection,
            operation.operation_id,
            tenant_id,
            folder_of(tenant),
            kind,
            _keep_for(operation),
        )

        async def report(done: int, total: int, unit: str) -> None:
            await self._operations.progress(operation, done, total, unit)

        async with self._writer.staging(backup) as staging:
            async with self._locks.holding(tenant_lock(tenant_id)):
                # It may have been suspended or moved before the lock was free.
                tenant = await _active(connection, tenant_id)
                anchored = await self._anchored(connection, tenant)
                snapshot = await self._writer.read(backup, tenant, anchored, staging, report)
            written = await self._writer.store(
                connection, backup, tenant, snapshot, staging, report
            )
        async with connection.transaction():
            await backups.complete(
                connection,
                backup.backup_id,
                written.manifest,
                written.manifest_digest,
                written.new_object_bytes,
            )
            if kind is not BackupKind.CLONE:
                details = {"tenant_id": tenant_id, "manifest": written.manifest_digest}
                await audit.append(connection, "backup.create", "backup", backup.backup_id, details)

    async def remove(self, connection: Connection, operation: Operation) -> None:
        """Delete what was made of a backup."""
        backup = await backups.get(connection, operation.operation_id)
        if backup is not None:
            await self._files.delete(connection, backup)

    async def _anchored(self, connection: Connection, tenant: Tenant) -> ChainLink | None:
        """Return what a log is compared with; it is read afterwards, since more is anchored."""
        head = await self._anchors.head(connection, tenant.tenant_id, tenant.database.name)
        return None if head is None else ChainLink(head.sequence, head.digest)

    async def _write(self, connection: Connection, operation: Operation) -> Mapping[str, object]:
        kind = BackupKind(str(operation.arguments["kind"]))
        await self.write(connection, operation, operation.tenant_id, kind)
        if operation.arguments.get("verify"):
            await self._begin_verification(connection, operation)
        return {RESULT: {"backup_id": operation.operation_id}}

    async def _begin_verification(self, connection: Connection, operation: Operation) -> None:
        async with connection.transaction():
            verification = await self._operations.begin(
                connection,
                OperationKind.VERIFY_BACKUP,
                operation.tenant_id,
                f"verify/{operation.operation_id}",
                {"backup_id": operation.operation_id},
            )
        self._operations.run(verification.operation_id)


def _keep_for(operation: Operation) -> timedelta | None:
    seconds = operation.arguments.get("keep_seconds")
    return timedelta(seconds=seconds) if isinstance(seconds, int) else None


async def _active(connection: Connection, tenant_id: str) -> Tenant:
    tenant = await tenants.find(connection, tenant_id)
    if tenant is None:
        raise TenantNotFound(tenant_id)
    if tenant.state is not TenantState.ACTIVE:
        raise TenantNotReady(tenant_id, tenant.state)
    return tenant
