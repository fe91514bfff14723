"""The backups of a tenant that is purged, as the purge reports them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenant.domain.deletion import StoreReport

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tenant.app.backup_deletion import BackupDeletion
    from tenant.domain.tenants import Tenant


class BackupPurge:
    """Deletes all backups of a tenant: none is kept longer."""

    def __init__(self, deletion: BackupDeletion) -> None:
        self._deletion = deletion

    async def purge(self, tenant: Tenant) -> Sequence[StoreReport]:
        """Delete them, and report how many files there were. Raises what the deletion raises."""
        found = await self._deletion.purge(tenant)
        return (
            StoreReport(
                f"files of {found.backup_count} backups in {', '.join(found.folders)}",
                "DELETE of all files in the tenant's folders of the backup storage",
                found.files_before,
                found.files_after,
                ("Copies that others have made of backups are not known.",),
            ),
        )
