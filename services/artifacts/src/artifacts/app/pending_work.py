"""Tells the collector where it may have work, before the work can exist."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from artifacts.store.pending_work import PendingWorkStore
    from dataplane.tenants import ManagementPool, TenantPools

_NOTED_SECONDS = 60.0  # a tenth of what the collector takes for recent


class PendingWork:
    def __init__(
        self,
        tenants: TenantPools,
        management: ManagementPool,
        store: PendingWorkStore,
        delay_seconds: float,
    ) -> None:
        self._tenants = tenants
        self._management = management
        self._store = store
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
            await self._store.note(connection, tenant_id, self._delay_seconds)
        if len(self._noted) >= 10_000:
            self._noted.clear()
        self._noted[tenant_id] = now + _NOTED_SECONDS
