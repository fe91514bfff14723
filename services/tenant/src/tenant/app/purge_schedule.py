"""Begins the purges of deleted tenants whose time has come."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from servicekit.call import acting_as
from servicekit.identity import workload_principal
from servicekit.periodic import PeriodicTask
from tenant.errors import TenantBusy, TenantNotFound
from tenant.errors.deletion import TenantNotDeleted
from tenant.store import tenants

if TYPE_CHECKING:
    from dataplane.tenants import ManagementPool
    from tenant.app.deletion import TenantDeletion

_INTERVAL_SECONDS = 30.0
_log = logging.getLogger(__name__)


class PurgeSchedule:
    """Looks for deleted tenants that are due, in every process; one of them begins each purge."""

    def __init__(
        self,
        management: ManagementPool,
        deletion: TenantDeletion,
        interval_seconds: float = _INTERVAL_SECONDS,
    ) -> None:
        self._management = management
        self._deletion = deletion
        self.task = PeriodicTask(
            self._begin_due,
            interval_seconds,
            _log,
            "purge_schedule.unavailable",
            "tenants that are to be purged cannot be found",
        )

    async def _begin_due(self) -> None:
        async with self._management.connection() as connection:
            due = await tenants.due_for_purge(connection)
        for tenant in due:
            # The same in every process and after every crash; names of databases never come again.
            request_id = f"purge/{tenant.database.name}/{tenant.generation}"
            with (
                acting_as(workload_principal("tenant")),
                suppress(TenantBusy, TenantNotDeleted, TenantNotFound),  # looked at again soon
            ):
                await self._deletion.purge(tenant.tenant_id, request_id)
