"""Makes Temporal follow the schedules of a tenant."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from runs.store import schedule_deliveries as store
from runs.store import schedules

if TYPE_CHECKING:
    from dataplane.tenants import TenantPools
    from runs.domain.schedules import Schedule
    from runs.temporal.schedules import Schedules

_AGAIN_AFTER = timedelta(hours=1)
"""When Temporal is told again: it may have been restored, or the tenant's database may have."""


class ScheduleDelivery:
    """Tells Temporal what has changed; the rows in the tenant's database say what it is told."""

    def __init__(self, tenants: TenantPools, temporal: Schedules) -> None:
        self._tenants = tenants
        self._temporal = temporal

    async def deliver(self, tenant_id: str) -> timedelta | None:
        """Deliver all that is due; return in how long something is due again, None if nothing is.

        Raises TemporalUnavailable.
        """
        async with self._tenants.connection(tenant_id) as connection:
            if not await store.any_schedules(connection):
                return None
            await store.pause_copies(connection, tenant_id)
            due = await store.undelivered(connection, _AGAIN_AFTER)
        for schedule_id, schedule in due:
            if schedule is None:
                await self._temporal.delete(tenant_id, schedule_id)
                async with self._tenants.connection(tenant_id) as connection:
                    await store.delete(connection, schedule_id)
            else:
                await self._apply(tenant_id, schedule)
        async with self._tenants.connection(tenant_id) as connection:
            backfills = await store.undelivered_backfills(connection)
        for backfill in backfills:
            await self._temporal.backfill(tenant_id, backfill)
            async with self._tenants.connection(tenant_id) as connection:
                await store.note_delivered(connection, backfill.backfill_id)
        async with self._tenants.connection(tenant_id) as connection:
            return await store.next_due(connection, _AGAIN_AFTER)

    async def _apply(self, tenant_id: str, schedule: Schedule | None) -> None:
        """Apply a schedule; if it has changed meanwhile, again, lest an older state stays."""
        while schedule is not None:
            await self._temporal.apply(tenant_id, schedule)
            schedule_id, generation = schedule.schedule_id, schedule.generation
            async with self._tenants.connection(tenant_id) as connection:
                if await store.note_applied(connection, schedule_id, generation):
                    return
                schedule = await schedules.find_own(connection, tenant_id, schedule_id)
