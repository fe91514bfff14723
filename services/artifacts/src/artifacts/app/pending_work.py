"""Schedules a visit of the collector before a tenant can have anything to collect."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from artifacts.store import pending_work

if TYPE_CHECKING:
    from dataplane.tenants import ManagementPool, TenantPools

_NOTED_SECONDS = 60.0  # a tenth of what the collector takes for recent


class PendingWork:
    """Schedules collections, and remembers for a minute that it has."""

    def __init__(
        self,
        tenants: TenantPools,
        management: ManagementPool,
        delay_seconds: float,
    ) -> None:
        self._tenants = tenants
        self._management = management
        self._delay_seconds = delay_seconds
        self._noted: dict[str, float] = {}

    async def note(self, tenant_id: str) -> None:
        """See to it that the collector visits the tenant; once a minute it is really written.

        Raises what reaching the tenant's database raises where there is no such tenant.
        """
        now = time.monotonic()
        if self._noted.get(tenant_id, 0.0) > now:
            return
        await self._tenants.check(tenant_id)
        async with self._management.connection() as connection:
            await pending_work.note(connection, tenant_id, self._delay_seconds)
        if len(self._noted) >= 10_000:
            self._noted.clear()
        self._noted[tenant_id] = now + _NOTED_SECONDS
