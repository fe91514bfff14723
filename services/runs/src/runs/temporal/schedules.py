"""Schedules in Temporal, by their ids `{tenant}/schedule/{id}`."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from temporalio.client import Schedule as TemporalSchedule
from temporalio.client import (
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleBackfill,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
)
from temporalio.service import RPCError, RPCStatusCode

from runs.domain.schedules import Overlap, temporal_id
from runs.errors import TemporalUnavailable
from runs.errors.schedules import ScheduleInvalid
from servicekit.errors import Violation

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from temporalio.client import Client, ScheduleUpdateInput

    from runs.domain.schedules import Backfill, Schedule

WORKFLOW = "ScheduledRun"

_CALL = timedelta(seconds=5)
_LONGEST_SECONDS = 8.0
_AWAY = (
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.RESOURCE_EXHAUSTED,
    RPCStatusCode.CANCELLED,
)
_OVERLAPS = {
    Overlap.SKIP: ScheduleOverlapPolicy.SKIP,
    Overlap.BUFFER_ONE: ScheduleOverlapPolicy.BUFFER_ONE,
    Overlap.BUFFER_ALL: ScheduleOverlapPolicy.BUFFER_ALL,
    Overlap.CANCEL_OTHER: ScheduleOverlapPolicy.CANCEL_OTHER,
    Overlap.ALLOW_ALL: ScheduleOverlapPolicy.ALLOW_ALL,
}


@dataclass(frozen=True, slots=True)
class ScheduledStart:
    """The argument of the workflow that a schedule starts at each of its times."""

    tenant_id: str
    schedule_id: str
    catch_up_seconds: int
    waits: bool
    """Whether it lasts as long as its run, because the next time has to know."""


class Schedules:
    """Creates, changes and deletes schedules in Temporal. All raise TemporalUnavailable.

    What Temporal answers otherwise concerns one schedule only: ScheduleInvalid.
    """

    def __init__(self, client: Client, task_queue: str) -> None:
        self._client = client
        self._task_queue = task_queue

    async def apply(self, tenant_id: str, schedule: Schedule) -> None:
        """Have Temporal follow a schedule as it is, whether it knows it already or not."""
        wanted = self._wanted(tenant_id, schedule)
        schedule_id = temporal_id(tenant_id, schedule.schedule_id)

        def replaced(_: ScheduleUpdateInput) -> ScheduleUpdate:
            return ScheduleUpdate(wanted)

        async with translated_errors(), _refusals():
            handle = self._client.get_schedule_handle(schedule_id)
            try:
                await handle.update(replaced, rpc_timeout=_CALL)
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND:
                    raise
                await self._create(schedule_id, wanted)

    async def delete(self, tenant_id: str, schedule_id: str) -> None:
        """Delete a schedule; nothing happens if Temporal knows none."""
        async with translated_errors(), _refusals():
            await self._delete(temporal_id(tenant_id, schedule_id))

    async def backfill(self, tenant_id: str, backfill: Backfill) -> bool:
        """Have a schedule start the workflows of times that have passed, one after another.

        With ALLOW_ALL all start at once. All times come in the same moment, so that Temporal would
        leave out all but the first under the other policies. Returns False if Temporal does not
        know the schedule: it was restored perhaps.
        """
        policy = ScheduleOverlapPolicy.BUFFER_ALL
        if backfill.overlap is Overlap.ALLOW_ALL:
            policy = ScheduleOverlapPolicy.ALLOW_ALL
        start = backfill.start - timedelta(milliseconds=1)
        times = ScheduleBackfill(start, backfill.end, policy)
        async with translated_errors(), _refusals():
            handle = self._client.get_schedule_handle(temporal_id(tenant_id, backfill.schedule_id))
            try:
                await handle.backfill(times, rpc_timeout=_CALL)
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND:
                    raise
                return False
        return True

    async def _create(self, schedule_id: str, wanted: TemporalSchedule) -> None:
        try:
            await self._client.create_schedule(schedule_id, wanted, rpc_timeout=_CALL)
        except ScheduleAlreadyRunningError:  # another process was faster: it is told again soon
            raise TemporalUnavailable("the schedule is being created") from None

    async def _delete(self, schedule_id: str) -> None:
        try:
            await self._client.get_schedule_handle(schedule_id).delete(rpc_timeout=_CALL)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise

    def _wanted(self, tenant_id: str, schedule: Schedule) -> TemporalSchedule:
        spec = schedule.spec
        start = ScheduledStart(
            tenant_id,
            schedule.schedule_id,
            spec.catch_up_seconds,
            waits=spec.overlap is not Overlap.ALLOW_ALL,
        )
        every = timedelta(seconds=spec.times.every_seconds)
        return TemporalSchedule(
            action=ScheduleActionStartWorkflow(
                WORKFLOW,
                start,
                id=temporal_id(tenant_id, schedule.schedule_id),
                task_queue=self._task_queue,
            ),
            spec=ScheduleSpec(
                cron_expressions=[spec.times.cron] if spec.times.cron else [],
                intervals=[ScheduleIntervalSpec(every)] if every else [],
                time_zone_name=spec.times.time_zone or None,
            ),
            policy=SchedulePolicy(
                overlap=_OVERLAPS[spec.overlap],
                catchup_window=timedelta(seconds=spec.catch_up_seconds),
            ),
            state=ScheduleState(paused=schedule.paused),
        )


@asynccontextmanager
async def _refusals() -> AsyncGenerator[None]:
    """Turn an answer that Temporal gives to this only, not to all, into ScheduleInvalid."""
    try:
        yield
    except RPCError as error:
        if error.status in _AWAY:
            raise
        # Only of what was asked for itself its text is told.
        asked = error.status is RPCStatusCode.INVALID_ARGUMENT
        why = f": {error.message}" if asked else ""
        fault = Violation("spec", f"Temporal answered {error.status.name}{why}")
        raise ScheduleInvalid([fault]) from error


@asynccontextmanager
async def translated_errors() -> AsyncGenerator[None]:
    """Turn what says that Temporal cannot be reached into TemporalUnavailable."""
    try:
        async with asyncio.timeout(_LONGEST_SECONDS):
            yield
    except TimeoutError as error:
        raise TemporalUnavailable("Temporal does not answer") from error
    except RPCError as error:
        raise TemporalUnavailable(f"Temporal answered {error.status.name}") from error
    except RuntimeError as error:  # so the SDK says that a lazy client cannot connect
        raise TemporalUnavailable("Temporal cannot be reached") from error
