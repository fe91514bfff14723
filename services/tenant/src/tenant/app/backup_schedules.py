"""Has backups made when they are due, and deleted when they have expired."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from dataplane import audit
from servicekit.call import acting_as, current_principal
from servicekit.errors import Conflict, DataLoss
from servicekit.identity import Principal
from servicekit.periodic import PeriodicTask
from tenant.errors import TenantNotFound
from tenant.errors.backups import BackupInUse
from tenant.store import backup_schedules, backups, tenants

if TYPE_CHECKING:
    from datetime import timedelta

    from dataplane.tenants import ManagementPool
    from tenant.app.backup_deletion import BackupDeletion
    from tenant.app.backups import Backups
    from tenant.domain.backups import BackupSchedule
    from tenant.operations.operations import Operations

_INTERVAL_SECONDS = 10.0
_AT_ONCE = 20
_log = logging.getLogger(__name__)


class BackupSchedules:
    """Sets and follows the schedules. Every process follows them; each backup is begun once."""

    def __init__(
        self,
        management: ManagementPool,
        begun: Operations,
        made: Backups,
        deletion: BackupDeletion,
        interval_seconds: float = _INTERVAL_SECONDS,
    ) -> None:
        self._management = management
        self._operations = begun
        self._backups = made
        self._deletion = deletion
        self.task = PeriodicTask(
            self.follow,
            interval_seconds,
            _log,
            "backup_schedules.unavailable",
            "schedules of backups cannot be followed",
        )

    async def set(
        self,
        tenant_id: str,
        interval: timedelta,
        keep_count: int,
        keep_for: timedelta,
        *,
        verify: bool,
    ) -> BackupSchedule:
        """Set a tenant's schedule. Raises TenantNotFound, BackupsNotConfigured."""
        self._backups.check_configured()
        async with self._management.transaction() as connection:
            if await tenants.find(connection, tenant_id) is None:
                raise TenantNotFound(tenant_id)
            user_id = current_principal().user_id
            schedule = await backup_schedules.upsert(
                connection, tenant_id, interval, keep_count, keep_for, user_id, verify=verify
            )
            details = {"interval_seconds": int(interval.total_seconds()), "keep_count": keep_count}
            await audit.append(connection, "backup_schedule.set", "tenant", tenant_id, details)
            return schedule

    async def delete(self, tenant_id: str) -> None:
        """Delete a tenant's schedule; it need not have one."""
        async with self._management.transaction() as connection:
            if await backup_schedules.delete(connection, tenant_id):
                action = "backup_schedule.delete"
                await audit.append(connection, action, "tenant", tenant_id, {})

    async def follow(self) -> None:
        """Begin the backups that are due, and delete those that have expired."""
        while await self._begin_next():
            pass
        async with self._management.connection() as connection:
            expired = await backups.to_delete(connection, _AT_ONCE)
        for backup in expired:
            try:
                await self._deletion.delete(backup)
            except BackupInUse:
                continue
            except (Conflict, DataLoss) as error:
                _log.warning(
                    "an expired backup cannot be deleted",
                    extra={
                        "event": "backup.deletion_refused",
                        "backup_id": backup.backup_id,
                        "tenant_id": backup.tenant_id,
                        "why": error.message,
                    },
                )

    async def _begin_next(self) -> bool:
        """Begin one backup that is due; return whether there was one."""
        async with self._management.transaction() as connection:
            schedule = await backup_schedules.claim_due(connection)
            if schedule is None:
                return False
            person = Principal(schedule.user_id, None, frozenset({schedule.tenant_id}), frozenset())
            with acting_as(person):
                operation = await self._backups.create_scheduled(connection, schedule)
            await backup_schedules.advance(connection, schedule.tenant_id, operation.operation_id)
        self._operations.run(operation.operation_id)
        return True
