"""The runs of schedules: created at each of their times by the same way as by CreateRun."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from runs.domain.runs import Failure, RunStatus
from runs.domain.schedules import Overlap
from runs.errors import RequestIdReused, RunFinished, RunNotFound
from runs.store import runs as run_store
from runs.store import schedules as store
from servicekit.call import acting_as, on_behalf_of
from servicekit.errors import (
    Conflict,
    DomainError,
    InvalidInput,
    NotFound,
    PermissionDenied,
    TenantNotActive,
)
from servicekit.identity import Principal

if TYPE_CHECKING:
    from datetime import datetime

    from dataplane.tenants import TenantPools
    from runs.api.app.run_steering import RunSteering
    from runs.api.app.runs import Runs
    from runs.domain.runs import Run
    from runs.domain.schedules import Schedule
    from runs.temporal.schedules import Schedules

_FINAL = (InvalidInput, NotFound, Conflict)
_log = logging.getLogger(__name__)


class ScheduledRuns:
    """Creates the runs of schedules, and looks whether they have ended."""

    def __init__(
        self, tenants: TenantPools, runs: Runs, steering: RunSteering, temporal: Schedules
    ) -> None:
        self._tenants = tenants
        self._runs = runs
        self._steering = steering
        self._temporal = temporal

    async def create(self, tenant_id: str, schedule_id: str, time: datetime) -> str:
        """Create the run of a schedule's time; return its id, empty if the time gets none.

        A time has one run, however often this is called. It gets none if the tenant is not active
        or the schedule is paused or deleted; and if CreateRun refuses it, which the schedule's row
        tells. Where clocks go back, both times of a local time have the same run. Raises
        DomainError for what may be different later.
        """
        try:
            await self._tenants.check(tenant_id)
        except TenantNotActive as error:
            if error.metadata["state"] == "behind":
                raise  # until its database is migrated
            return ""
        except PermissionDenied:
            await self._temporal.delete(tenant_id, schedule_id)  # the tenant was deleted
            return ""
        async with self._tenants.connection(tenant_id) as connection:
            schedule = await store.find_own(connection, tenant_id, schedule_id)
        if schedule is None:
            # Of a database that was restored from before it was created, or just deleted.
            await self._temporal.delete(tenant_id, schedule_id)
            return ""
        if schedule.paused:
            return ""
        principal = Principal(schedule.user_id, "runs", frozenset({tenant_id}), frozenset())
        with acting_as(principal), on_behalf_of(tenant_id, schedule.user_id):
            return await self._create(tenant_id, schedule, time)

    async def has_ended(self, tenant_id: str, run_id: str) -> bool:
        """Return whether a run has its final status, or is not there any more."""
        try:
            await self._tenants.check(tenant_id)
        except PermissionDenied:
            return True  # the tenant was deleted
        async with self._tenants.connection(tenant_id) as connection:
            run = await run_store.find(connection, run_id)
        return run is None or run.status.final

    async def cancel(self, tenant_id: str, run_id: str) -> None:
        """Ask a run to stop, in the name of whoever its schedule belongs to."""
        async with self._tenants.connection(tenant_id) as connection:
            run = await run_store.find(connection, run_id)
        if run is None:
            return
        principal = Principal(run.user_id, "runs", frozenset({tenant_id}), frozenset())
        with acting_as(principal), on_behalf_of(tenant_id, run.user_id):
            try:
                await self._steering.cancel(tenant_id, run_id)
            except (RunFinished, RunNotFound):
                return

    async def create_once(
        self, tenant_id: str, schedule: Schedule, request_id: str, time: datetime
    ) -> Run:
        """Create a run, or return what the request created when the schedule was another one.

        Raises what CreateRun does.
        """
        draft = schedule.spec.draft(schedule.name, request_id, time)
        try:
            return await self._runs.create(tenant_id, draft)
        except RequestIdReused:
            async with self._tenants.connection(tenant_id) as connection:
                found = await run_store.find_by_request(connection, request_id)
            if found is None:
                raise
            return found[0]

    async def _create(self, tenant_id: str, schedule: Schedule, time: datetime) -> str:
        failure, run_id = None, ""
        try:
            run_id = (await self._run_of(tenant_id, schedule, time)).run_id
        except DomainError as error:
            failure = _failure(error)
            if not isinstance(error, _FINAL):
                # It may be tried until it is too late: then this is what is known of the time.
                await self._note(tenant_id, schedule, time, "", failure)
                raise
            _log.warning(
                "a schedule's time gets no run",
                extra={
                    "event": "schedule.run_refused",
                    "tenant_id": tenant_id,
                    "schedule": schedule.name,
                    "why": error.message,
                },
            )
        await self._note(tenant_id, schedule, time, run_id, failure)
        return run_id

    async def _note(
        self,
        tenant_id: str,
        schedule: Schedule,
        time: datetime,
        run_id: str,
        failure: Failure | None,
    ) -> None:
        async with self._tenants.connection(tenant_id) as connection:
            await store.note_run(connection, schedule.schedule_id, time, run_id or None, failure)

    async def _run_of(self, tenant_id: str, schedule: Schedule, time: datetime) -> Run:
        first = schedule.spec.times.first(time)
        run = await self.create_once(tenant_id, schedule, schedule.request_id(first), first)
        cancels = schedule.spec.overlap is Overlap.CANCEL_OTHER
        if first != time and cancels and run.status is RunStatus.CANCELLED:
            # Temporal has cancelled it for this time, which takes its place.
            return await self.create_once(tenant_id, schedule, schedule.request_id(time), time)
        return run


def _failure(error: DomainError) -> Failure:
    return Failure(error.reason.removeprefix("ERROR_REASON_"), error.message)
