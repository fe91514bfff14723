"""Schedules: creating, changing, triggering and deleting.

Whatever makes a schedule create runs needs the permission to create runs, too.

The tenant's database comes first. Then Temporal is told; if that fails, or this process ends
before, a relay does it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from dataplane import audit
from runs.domain.schedules import MOST_TIMES, TRIGGERED
from runs.errors import PipelineNotFound, RequestIdReused, TemporalUnavailable
from runs.errors.schedules import (
    ScheduleExists,
    ScheduleInvalid,
    ScheduleNotFound,
    SchedulePaused,
)
from runs.store import pipelines, schedule_deliveries
from runs.store import runs as run_store
from runs.store import schedules as store
from servicekit.call import current_principal, require_permission
from servicekit.errors import Violation
from servicekit.times import now

if TYPE_CHECKING:
    from datetime import datetime

    from dataplane.pending_work_scheduler import PendingWorkScheduler
    from dataplane.pools import Connection
    from dataplane.tenants import TenantPools
    from runs.api.app.schedule_delivery import ScheduleDelivery
    from runs.api.app.scheduled_runs import ScheduledRuns
    from runs.domain.runs import Run
    from runs.domain.schedules import Schedule, ScheduleSpec

_CREATES_RUNS = "runs.write"
_log = logging.getLogger(__name__)


class Schedules:
    """Creates, changes and deletes schedules."""

    def __init__(
        self,
        tenants: TenantPools,
        scheduler: PendingWorkScheduler,
        delivery: ScheduleDelivery,
        runs: ScheduledRuns,
    ) -> None:
        self._tenants = tenants
        self._scheduler = scheduler
        self._delivery = delivery
        self._runs = runs

    async def create(
        self, tenant_id: str, request_id: str, name: str, spec: ScheduleSpec, *, paused: bool
    ) -> Schedule:
        """Create a schedule.

        A repeated `request_id` returns what its first call created, or raises RequestIdReused if
        the content differs. Raises PermissionDenied, ScheduleInvalid, InputInvalid, RequestInvalid,
        PipelineNotFound and ScheduleExists.
        """
        require_permission(_CREATES_RUNS)
        spec.check()
        await self._scheduler.schedule(tenant_id)
        user_id = current_principal().user_id
        async with self._tenants.transaction(tenant_id) as connection:
            await _check_pipeline(connection, spec)
            created = await store.insert(
                connection, tenant_id, name, spec, request_id, user_id, paused=paused
            )
            if created is None:
                return await _repeated(connection, request_id, name, spec)
            await audit.append(connection, "schedule.create", "schedule", name)
        return await self._delivered(tenant_id, created)

    async def update(self, tenant_id: str, name: str, spec: ScheduleSpec) -> Schedule:
        """Replace what a schedule does and when.

        Raises PermissionDenied, ScheduleNotFound, ScheduleInvalid, InputInvalid, RequestInvalid and
        PipelineNotFound.
        """
        require_permission(_CREATES_RUNS)
        spec.check()
        await self._scheduler.schedule(tenant_id)
        user_id = current_principal().user_id
        async with self._tenants.transaction(tenant_id) as connection:
            await _check_pipeline(connection, spec)
            changed = await store.replace_spec(connection, name, spec, user_id)
            if changed is None:
                return await _find(connection, name)
            await audit.append(connection, "schedule.update", "schedule", name)
        return await self._delivered(tenant_id, changed)

    async def pause(self, tenant_id: str, name: str, reason: str) -> Schedule:
        """Have a schedule create no run until it is resumed. Raises ScheduleNotFound."""
        return await self._set_paused(tenant_id, name, "schedule.pause", reason, paused=True)

    async def resume(self, tenant_id: str, name: str) -> Schedule:
        """Have a paused schedule create runs again.

        Raises PermissionDenied and ScheduleNotFound.
        """
        require_permission(_CREATES_RUNS)
        return await self._set_paused(tenant_id, name, "schedule.resume", "", paused=False)

    async def trigger(self, tenant_id: str, name: str, request_id: str) -> Run:
        """Create a run of a schedule now; a repeated `request_id` returns the same run.

        The transaction that records the run records in the audit log that it was triggered.

        Raises PermissionDenied, ScheduleNotFound, and what CreateRun does.
        """
        require_permission(_CREATES_RUNS)
        async with self._tenants.connection(tenant_id) as connection:
            schedule = await _find(connection, name)
            key = f"{TRIGGERED}{schedule.schedule_id}:{request_id}"
            found = await run_store.find_by_request(connection, key)
        if found is not None:
            return found[0]
        time = now().replace(microsecond=0)
        run = await self._runs.create_once(tenant_id, schedule, key, time)
        async with self._tenants.connection(tenant_id) as connection:
            await store.note_run(connection, schedule.schedule_id, time, run.run_id)
        return run

    async def backfill(
        self, tenant_id: str, name: str, request_id: str, start: datetime, end: datetime
    ) -> int:
        """Have a schedule create the runs of times that have passed; return how many there are.

        Raises PermissionDenied, ScheduleNotFound, SchedulePaused, ScheduleInvalid and
        RequestIdReused.
        """
        require_permission(_CREATES_RUNS)
        await self._scheduler.schedule(tenant_id)
        async with self._tenants.transaction(tenant_id) as connection:
            schedule = await _find(connection, name)
            count = _count(schedule, start, end)
            if not await schedule_deliveries.insert_backfill(
                connection, schedule.schedule_id, request_id, start, end
            ):
                raise RequestIdReused(request_id, "backfill")
            await audit.append(connection, "schedule.backfill", "schedule", name)
        await self._deliver(tenant_id)
        return count

    async def delete(self, tenant_id: str, name: str) -> None:
        """Delete a schedule; nothing happens if there is none."""
        await self._scheduler.schedule(tenant_id)
        async with self._tenants.transaction(tenant_id) as connection:
            if await store.mark_deleted(connection, name) is None:
                return
            await audit.append(connection, "schedule.delete", "schedule", name)
        await self._deliver(tenant_id)

    async def _set_paused(
        self, tenant_id: str, name: str, action: str, reason: str, *, paused: bool
    ) -> Schedule:
        await self._scheduler.schedule(tenant_id)
        async with self._tenants.transaction(tenant_id) as connection:
            changed = await store.set_paused(
                connection, tenant_id, name, paused=paused, reason=reason
            )
            if changed is None:
                return await _find(connection, name)
            await audit.append(connection, action, "schedule", name)
        return await self._delivered(tenant_id, changed)

    async def _delivered(self, tenant_id: str, schedule: Schedule) -> Schedule:
        """Tell Temporal, and return the schedule as it is then."""
        await self._deliver(tenant_id)
        async with self._tenants.connection(tenant_id) as connection:
            return await store.find(connection, schedule.name) or schedule

    async def _deliver(self, tenant_id: str) -> None:
        """Tell Temporal, or let a relay do it."""
        try:
            await self._delivery.deliver(tenant_id)
        except TemporalUnavailable as error:
            _log.info(
                "a relay will tell Temporal of a schedule",
                extra={
                    "event": "schedule.delivery_left_to_relay",
                    "tenant_id": tenant_id,
                    "why": error.message,
                },
            )


async def _find(connection: Connection, name: str) -> Schedule:
    found = await store.find(connection, name)
    if found is None:
        raise ScheduleNotFound(name)
    return found


async def _repeated(
    connection: Connection, request_id: str, name: str, spec: ScheduleSpec
) -> Schedule:
    """Return what the request has created. Raises RequestIdReused and ScheduleExists."""
    found = await store.find_by_request(connection, request_id)
    if found is None:
        raise ScheduleExists(name)
    schedule, digest = found
    if (schedule.name, digest) != (name, spec.digest):
        raise RequestIdReused(request_id, "schedule")
    return schedule


async def _check_pipeline(connection: Connection, spec: ScheduleSpec) -> None:
    if await pipelines.facts(connection, spec.pipeline, spec.version) is None:
        raise PipelineNotFound(spec.pipeline, spec.version)


def _count(schedule: Schedule, start: datetime, end: datetime) -> int:
    """Return how many times a backfill has. Raises SchedulePaused and ScheduleInvalid."""
    if schedule.paused:
        raise SchedulePaused(schedule.name)
    fault = ""
    if end > now():
        fault = "it is in the future"
    elif start > end:
        fault = "it is before start_time"
    elif (count := schedule.spec.times.between(start, end)) <= MOST_TIMES:
        return count
    else:
        fault = f"until then there are more than {MOST_TIMES:,} times"
    raise ScheduleInvalid([Violation("end_time", fault)])
