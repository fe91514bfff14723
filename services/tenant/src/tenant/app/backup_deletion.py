"""Deletes backups: by request, when they expire, and with their tenant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataplane import audit
from tenant.app.backup_creation import backups_lock
from tenant.domain.backups import BackupState, PurgedBackups, folder_of
from tenant.errors.backups import BackupInUse
from tenant.store import backup_schedules, backups
from tenant.store.locks import LockHeld

if TYPE_CHECKING:
    from dataplane.tenants import ManagementPool
    from tenant.app.backup_files import BackupFiles
    from tenant.domain.backups import Backup
    from tenant.domain.tenants import Tenant
    from tenant.store.locks import AdvisoryLocks

_WAIT_SECONDS = 5.0


class BackupDeletion:
    """Deletes backups. Once that has begun a backup cannot be restored any more."""

    def __init__(
        self, management: ManagementPool, locks: AdvisoryLocks, files: BackupFiles
    ) -> None:
        self._management = management
        self._locks = locks
        self._files = files

    async def delete_one(self, tenant_id: str, backup_id: str) -> None:
        """Delete a backup of a tenant; it may be gone.

        Raises BackupInUse, BackupStorageUnavailable.
        """
        async with self._management.connection() as connection:
            backup = await backups.find(connection, tenant_id, backup_id)
        if backup is not None:
            await self.delete(backup)

    async def purge(self, tenant: Tenant) -> PurgedBackups:
        """Delete all backups of a tenant that is being purged, and whatever else lies there.

        It may run again. Raises BackupInUse, BackupStorageUnavailable.
        """
        try:
            async with self._locks.holding(
                backups_lock(tenant.tenant_id), _WAIT_SECONDS
            ) as connection:
                made = await backups.of_tenant(connection, tenant.tenant_id)
                for backup in made:
                    if await backups.in_use(connection, backup.backup_id):
                        raise BackupInUse(backup.backup_id)
                    await backups.mark_deleting(connection, backup.backup_id)
                await backup_schedules.delete(connection, tenant.tenant_id)
                folders = {folder_of(tenant), *(backup.folder for backup in made)}
                before = await self._files.delete_folders(folders)
                staged = await self._files.delete_staged(folders)
                for backup in made:
                    await backups.delete(connection, backup.backup_id)
                return PurgedBackups(
                    len(made),
                    before,
                    await self._files.count(folders),
                    tuple(sorted(folders)),
                    *staged,
                    tuple(self._files.staging_unproven),
                )
        except LockHeld:
            raise BackupInUse(tenant.tenant_id) from None

    async def delete(self, backup: Backup) -> None:
        """Delete a backup and its files. Raises BackupInUse, BackupStorageUnavailable."""
        backup_id = backup.backup_id
        try:
            async with self._locks.holding(
                backups_lock(backup.tenant_id), _WAIT_SECONDS
            ) as connection:
                async with connection.transaction():
                    if await backups.in_use(connection, backup_id):
                        raise BackupInUse(backup_id)
                    if not await backups.mark_deleting(connection, backup_id):
                        return
                    if backup.state is not BackupState.DELETING:
                        details = {"tenant_id": backup.tenant_id}
                        action = "backup.delete"
                        await audit.append(connection, action, "backup", backup_id, details)
                await self._files.delete(connection, backup)
        except LockHeld:
            raise BackupInUse(backup_id) from None
