"""What Temporal starts at each time of a schedule: a small workflow that creates the run.

It runs in the API process, on a task queue of its own: it does what CreateRun does. Where the next
time has to know whether the run has ended, the workflow lasts as long as the run.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from temporalio import activity, workflow
from temporalio.common import RetryPolicy, SearchAttributeKey
from temporalio.exceptions import ActivityError, ApplicationError, ApplicationErrorCategory
from temporalio.exceptions import is_cancelled_exception as is_cancelled
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from runs.temporal.renewal import renewing
from runs.temporal.schedules import WORKFLOW, ScheduledStart
from servicekit.errors import DomainError
from servicekit.retries import RetryLog, retry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from temporalio.client import Client

    from runs.api.app.scheduled_runs import ScheduledRuns

_log = logging.getLogger(__name__)
_TIME = SearchAttributeKey.for_datetime("TemporalScheduledStartTime")
_ATTEMPT = timedelta(seconds=30)
_TRY_AGAIN = RetryPolicy(maximum_interval=timedelta(seconds=60))
_LOOK_AGAIN = RetryPolicy(backoff_coefficient=1.2, maximum_interval=timedelta(seconds=10))
_LONGEST_RUN = timedelta(days=3_650)
_AT_ONCE = 20
_RESTART_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class ScheduledTime:
    """A time of a schedule."""

    tenant_id: str
    schedule_id: str
    time: str
    """To the second, as RFC 3339 has it."""


@dataclass(frozen=True, slots=True)
class CreatedRun:
    """A run of a schedule."""

    tenant_id: str
    run_id: str


class ScheduleActivities:
    """What the workflow of a schedule's time calls."""

    def __init__(self, runs: ScheduledRuns) -> None:
        self._runs = runs

    @activity.defn
    async def create_scheduled_run(self, due: ScheduledTime) -> str:
        """Return the id of the time's run, empty if it gets none."""
        with _known_errors():
            moment = datetime.fromisoformat(due.time)
            return await self._runs.create(due.tenant_id, due.schedule_id, moment)

    @activity.defn
    async def await_scheduled_run(self, run: CreatedRun) -> None:
        """Return once the run has ended; until then it fails, and is tried again."""
        with _known_errors():
            ended = await self._runs.has_ended(run.tenant_id, run.run_id)
        if not ended:
            raise ApplicationError(
                "the run has not ended", type="RUN_OPEN", category=ApplicationErrorCategory.BENIGN
            )

    @activity.defn
    async def cancel_scheduled_run(self, run: CreatedRun) -> None:
        """Ask the run to stop."""
        with _known_errors():
            await self._runs.cancel(run.tenant_id, run.run_id)


@workflow.defn(name=WORKFLOW, sandboxed=False)
class ScheduledRun:
    """Creates the run of a schedule's time and, where that matters, waits for its end."""

    @workflow.run
    async def run(self, start: ScheduledStart) -> None:
        time = workflow.info().typed_search_attributes[_TIME]
        due = ScheduledTime(start.tenant_id, start.schedule_id, time.isoformat())
        try:
            run_id = await workflow.execute_activity_method(
                ScheduleActivities.create_scheduled_run,
                due,
                start_to_close_timeout=_ATTEMPT,
                schedule_to_close_timeout=timedelta(seconds=start.catch_up_seconds) + _ATTEMPT,
                retry_policy=_TRY_AGAIN,
            )
        except ActivityError as error:
            if is_cancelled(error):
                raise
            return  # it would be created too late
        if run_id and start.waits:
            await self._await_end(CreatedRun(start.tenant_id, run_id))

    async def _await_end(self, run: CreatedRun) -> None:
        try:
            await self._ended(run)
        except BaseException as error:
            if not is_cancelled(error):
                raise
            await workflow.execute_activity_method(
                ScheduleActivities.cancel_scheduled_run,
                run,
                start_to_close_timeout=_ATTEMPT,
                retry_policy=_TRY_AGAIN,
            )
            await self._ended(run)
            raise

    async def _ended(self, run: CreatedRun) -> None:
        await workflow.execute_activity_method(
            ScheduleActivities.await_scheduled_run,
            run,
            start_to_close_timeout=_ATTEMPT,
            schedule_to_close_timeout=_LONGEST_RUN,
            retry_policy=_LOOK_AGAIN,
        )


class ScheduleWorker:
    """Works on a task queue in this process, from the moment on at which Temporal is there."""

    def __init__(
        self, connect: Callable[[], Awaitable[Client]], task_queue: str, runs: ScheduledRuns
    ) -> None:
        self._connect = connect
        self._task_queue = task_queue
        self._activities = ScheduleActivities(runs)
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to work."""
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Take nothing new; what is under way is done by another process."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait((self._running,))

    async def _run(self) -> None:
        log = RetryLog(_log, "temporal.unavailable", "schedules wait for Temporal")
        # With a RuntimeError the SDK says that it cannot connect.
        while True:
            try:
                client = await retry(self._connect, RuntimeError, log)
                worker = make_worker(client, self._task_queue, self._activities)
                async with renewing(client, worker):
                    await worker.run()
            except Exception:
                _log.exception(
                    "the worker for schedules ended and begins again",
                    extra={"event": "schedule.worker_failed"},
                )
            await asyncio.sleep(_RESTART_SECONDS)


def make_worker(client: Client, task_queue: str, activities: ScheduleActivities) -> Worker:
    """Make a worker for the times of schedules."""
    return Worker(
        client,
        task_queue=task_queue,
        workflows=[ScheduledRun],
        activities=[
            activities.create_scheduled_run,
            activities.await_scheduled_run,
            activities.cancel_scheduled_run,
        ],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_concurrent_activities=_AT_ONCE,
        max_concurrent_workflow_tasks=_AT_ONCE,
        graceful_shutdown_timeout=timedelta(seconds=5),
    )


@contextmanager
def _known_errors() -> Generator[None]:
    """Let no foreign error's text into a history."""
    try:
        yield
    except DomainError as error:
        raise ApplicationError(error.message, type=error.reason) from None
    except Exception:
        _log.exception("a schedule's time failed", extra={"event": "schedule.time_failed"})
        raise ApplicationError("an internal error", type="INTERNAL") from None
