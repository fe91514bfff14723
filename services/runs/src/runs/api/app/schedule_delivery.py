"""Makes Temporal follow the schedules of a tenant."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from runs.domain.runs import Failure
from runs.errors.schedules import ScheduleInvalid
from runs.store import schedule_deliveries as store
from runs.store import schedules

if TYPE_CHECKING:
    from dataplane.tenants import TenantPools
    from runs.domain.schedules import Backfill, Schedule
    from runs.temporal.schedules import Schedules

_log = logging.getLogger(__name__)
_REFUSED_AGAIN_AFTER = timedelta(minutes=5)
_AGAIN_AFTER = timedelta(hours=1)
"""When Temporal is told again: it may have been restored, or the tenant's database may have."""


class ScheduleDelivery:
    """Tells Temporal what has changed; the rows in the tenant's database say what it is told."""

    def __init__(self, tenants: TenantPools, temporal: Schedules) -> None:
        self._tenants = tenants
        self._temporal = temporal

    async def deliver(self, tenant_id: str) -> timedelta | None:
        """Deliver all that is due; return in how long something is due again, None if nothing is.

        What Temporal refuses is in the schedule's `error`, and is tried again. Raises
        TemporalUnavailable.
        """
        refused = False
        async with self._tenants.connection(tenant_id) as connection:
            if not await store.any_schedules(connection):
                return None
            await store.pause_copies(connection, tenant_id)
            due = await store.undelivered(connection, _AGAIN_AFTER)
        for schedule_id, schedule in due:
            try:
                await self._tell(tenant_id, schedule_id, schedule)
            except ScheduleInvalid as error:
                refused = True
                await self._note_refusal(tenant_id, schedule_id, error)
        async with self._tenants.connection(tenant_id) as connection:
            backfills = await store.undelivered_backfills(connection)
        for backfill in backfills:
            try:
                await self._backfill(tenant_id, backfill)
            except ScheduleInvalid as error:
                refused = True
                await self._note_refusal(tenant_id, backfill.schedule_id, error)
        async with self._tenants.connection(tenant_id) as connection:
            due = await store.next_due(connection, _AGAIN_AFTER)
        return min(due or _REFUSED_AGAIN_AFTER, _REFUSED_AGAIN_AFTER) if refused else due

    async def _tell(self, tenant_id: str, schedule_id: str, schedule: Schedule | None) -> None:
        if schedule is not None:
            await self._apply(tenant_id, schedule)
            return
        await self._temporal.delete(tenant_id, schedule_id)
        async with self._tenants.connection(tenant_id) as connection:
            await store.delete(connection, schedule_id)

    async def _backfill(self, tenant_id: str, backfill: Backfill) -> None:
        """Deliver a backfill; a schedule that Temporal has lost is applied first."""
        if not await self._temporal.backfill(tenant_id, backfill):
            async with self._tenants.connection(tenant_id) as connection:
                schedule = await schedules.find_own(connection, tenant_id, backfill.schedule_id)
            await self._apply(tenant_id, schedule)
            if not await self._temporal.backfill(tenant_id, backfill):
                return  # deleted meanwhile
        async with self._tenants.connection(tenant_id) as connection:
            await store.note_delivered(connection, backfill.backfill_id)

    async def _note_refusal(self, tenant_id: str, schedule_id: str, error: ScheduleInvalid) -> None:
        failure = Failure(error.reason.removeprefix("ERROR_REASON_"), error.message)
        _log.warning(
            "Temporal refuses a schedule",
            extra={
                "event": "schedule.refused",
                "tenant_id": tenant_id,
                "schedule_id": schedule_id,
                "why": error.message,
            },
        )
        async with self._tenants.connection(tenant_id) as connection:
            await store.note_refused(connection, schedule_id, failure)

    async def _apply(self, tenant_id: str, schedule: Schedule | None) -> None:
        """Apply a schedule; if it has changed meanwhile, again, lest an older state stays."""
        while schedule is not None:
            await self._temporal.apply(tenant_id, schedule)
            schedule_id, generation = schedule.schedule_id, schedule.generation
            async with self._tenants.connection(tenant_id) as connection:
                if await store.note_applied(connection, schedule_id, generation):
                    return
                schedule = await schedules.find_own(connection, tenant_id, schedule_id)
