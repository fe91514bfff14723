"""The backups of a tenant that is purged, as the purge reports them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenant.domain.deletion import StoreReport
from tenant.errors.backups import BackupInUse
from tenant.errors.deletion import PurgeIncomplete

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tenant.app.backup_deletion import BackupDeletion
    from tenant.domain.tenants import Tenant


class BackupPurge:
    """Deletes all backups of a tenant: none is kept longer."""

    def __init__(self, deletion: BackupDeletion) -> None:
        self._deletion = deletion

    async def purge(self, tenant: Tenant) -> Sequence[StoreReport]:
        """Delete them, and report how many files there were.

        Raises PurgeIncomplete while one is in use, and what else the deletion raises.
        """
        try:
            found = await self._deletion.purge(tenant)
        except BackupInUse as error:  # what uses it ends by itself
            raise PurgeIncomplete(tenant.tenant_id, f"something to wait for: {error}") from None
        unproven = ["Copies that others have made of backups are not known."]
        if found.backup_count and not found.files_before:
            unproven.append(
                f"{found.backup_count} backups had been made, of which the present storage for "
                "backups has no file: they may lie in another one, which was set before."
            )
        return (
            StoreReport(
                f"files of backups in {', '.join(found.folders)}",
                "DELETE of all files in the tenant's folders of the backup storage",
                found.files_before,
                found.files_after,
                tuple(unproven),
            ),
            StoreReport(
                "files of backups that killed processes had staged",
                "files removed",
                found.staged_before,
                found.staged_after,
                found.staging_unproven,
            ),
        )
