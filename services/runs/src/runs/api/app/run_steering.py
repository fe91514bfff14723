"""Runs that are under way: pausing, resuming, cancelling and retrying them.

The tenant's database comes first, as for a new run: what is asked for is recorded with the message
to Temporal, then the message is delivered; if that fails, a relay does it.
"""

from __future__ import annotations

import logging
from types import MappingProxyType
from typing import TYPE_CHECKING

from dataplane import audit
from runs.domain.inputs import Held
from runs.domain.plan import WORKFLOW_VERSION, RunStart
from runs.domain.runs import RunOperation, RunStatus, RunStop
from runs.domain.tenant_limits import usual_limits
from runs.errors import (
    NothingToRetry,
    RunFinished,
    RunHeld,
    RunNotFinished,
    RunNotFound,
    RunStopping,
    TemporalUnavailable,
)
from runs.store import outbox, run_steering, run_transitions, runs, webhook_deliveries

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dataplane.pending_work_scheduler import PendingWorkScheduler
    from dataplane.pools import Connection
    from dataplane.tenants import TenantPools
    from runs.api.app.run_finalizer import RunFinalizer
    from runs.api.launcher import Launcher
    from runs.domain.runs import Retry, Run
    from runs.domain.tenant_limits import LimitsOf

_log = logging.getLogger(__name__)


class RunSteering:
    """Pauses, resumes, cancels and retries runs."""

    def __init__(
        self,
        tenants: TenantPools,
        scheduler: PendingWorkScheduler,
        launcher: Launcher,
        finalizer: RunFinalizer,
        limits: LimitsOf = usual_limits,
    ) -> None:
        self._tenants = tenants
        self._scheduler = scheduler
        self._launcher = launcher
        self._finalizer = finalizer
        self._limits = limits

    async def pause(self, tenant_id: str, run_id: str) -> Run:
        """Pause a run that has not begun at once, and ask a running one to come to a rest.

        Raises RunNotFound, RunFinished, RunStopping and RunHeld.
        """
        await self._scheduler.schedule(tenant_id)
        async with self._tenants.transaction(tenant_id) as connection:
            run, epoch = await _lock(connection, run_id)
            if run.status is RunStatus.PAUSED or run.stop is RunStop.PAUSE:
                return run
            _check_pausable(run)
            if run.status is RunStatus.PENDING:
                changed = await run_steering.pause_pending(connection, run_id)
            else:
                changed = await run_steering.ask_to_stop(connection, run_id, RunStop.PAUSE)
                await outbox.add(connection, run_id, "cancel")
            await audit.append(connection, "run.pause", "run", run.run_id)
        return await self._stop_workflow(tenant_id, changed or run, epoch)

    async def resume(self, tenant_id: str, run_id: str) -> Run:
        """Have a paused run go on, or withdraw a pause that is not reached yet.

        Raises RunNotFound, RunFinished and RunStopping.
        """
        await self._scheduler.schedule(tenant_id)
        async with self._tenants.transaction(tenant_id) as connection:
            run, epoch = await _lock(connection, run_id)
            _check_open(run)
            if run.status is RunStatus.PAUSED:
                room = await self._room(connection, tenant_id, run_id)
                changed = await run_steering.resume(connection, run_id, *room)
            elif run.stop is RunStop.PAUSE:
                changed = await run_steering.ask_to_stop(connection, run_id, RunStop.RESUME)
            else:
                return run
            await audit.append(connection, "run.resume", "run", run.run_id)
        if run.status is RunStatus.PAUSED and changed is not None and not changed.queued:
            await self._launch(tenant_id, run.run_id, epoch + 1)
        return changed or run

    async def cancel(self, tenant_id: str, run_id: str) -> Run:
        """Cancel a run that does not run at once, and ask a running one to stop.

        A running one that Temporal has no workflow for any more ends at once too. Raises
        RunNotFound and RunFinished.
        """
        await self._scheduler.schedule(tenant_id)
        async with self._tenants.transaction(tenant_id) as connection:
            run, epoch = await _lock(connection, run_id)
            if run.status is RunStatus.CANCELLED:
                return run
            _check_cancellable(run)
            if run.status is RunStatus.RUNNING:
                changed: Run | None = run
                if run.stop is not RunStop.CANCEL:
                    changed = await run_steering.ask_to_stop(connection, run_id, RunStop.CANCEL)
                await outbox.add(connection, run_id, "cancel")
            else:
                cancelled = RunStatus.CANCELLED
                changed = await run_transitions.finish(connection, run_id, epoch, cancelled)
            await audit.append(connection, "run.cancel", "run", run.run_id)
        return await self._stop_workflow(tenant_id, changed or run, epoch)

    async def retry(self, tenant_id: str, run_id: str, asked: Retry) -> Run:
        """Have a run that failed or was cancelled go on; a repeated request changes nothing.

        Raises RunNotFound, RunNotFinished, RunFinished and NothingToRetry.
        """
        await self._scheduler.schedule(tenant_id)
        async with self._tenants.transaction(tenant_id) as connection:
            run, epoch = await _lock(connection, run_id)
            if await run_steering.last_retry(connection, run_id) == asked.request_id:
                return run
            _check_retriable(run)
            await _check_given(connection, run)
            room = await self._room(connection, tenant_id, run_id)
            retried = await run_steering.retry(connection, run_id, asked, *room)
            if retried is None:
                element = f", element {asked.item}" if asked.item else ""
                why = f"nothing of step {asked.step}{element} has failed"
                raise NothingToRetry(run_id, why)
            await webhook_deliveries.reopen(connection, run_id)
            await audit.append(connection, "run.retry", "run", run.run_id, {"step": asked.step})
        if not retried.queued:
            await self._launch(tenant_id, run.run_id, epoch + 1, asked.step, asked.item)
        return retried

    async def _room(self, connection: Connection, tenant_id: str, run_id: str) -> tuple[str, int]:
        """Return the task queue of a run's pipeline, and how many may be under way on it."""
        task_queue = await runs.find_task_queue(connection, run_id)
        return task_queue, self._limits(tenant_id).runs_at_once(task_queue)

    async def _stop_workflow(self, tenant_id: str, run: Run, epoch: int) -> Run:
        """Have the workflow of a run end that is told to stop; return the run as it is then."""
        if run.stop is None:
            return run
        try:
            return await self._finalizer.stop(tenant_id, run.run_id, epoch) or run
        except TemporalUnavailable as error:
            _log.info(
                "a relay will stop the run",
                extra={
                    "event": "run.stop_left_to_relay",
                    "run_id": run.run_id,
                    "why": error.message,
                },
            )
            return run

    async def _launch(
        self, tenant_id: str, run_id: str, epoch: int, step: str = "", item: int = 0
    ) -> None:
        """Start a run's next workflow, or leave it to a relay."""
        try:
            async with self._tenants.connection(tenant_id) as connection:
                plan, task_queue = await runs.find_plan(connection, run_id)
            start = RunStart(tenant_id, run_id, epoch, plan, WORKFLOW_VERSION, step, item)
            await self._launcher.start(start, task_queue)
        except TemporalUnavailable as error:
            _log.info(
                "a relay will start the run",
                extra={"event": "run.start_left_to_relay", "run_id": run_id, "why": error.message},
            )
            return
        async with self._tenants.connection(tenant_id) as connection:
            await outbox.remove(connection, run_id, epoch, "start")


async def _lock(connection: Connection, run_id: str) -> tuple[Run, int]:
    found = await runs.lock(connection, run_id)
    if found is None:
        raise RunNotFound(run_id)
    return found


def _check_open(run: Run) -> None:
    if run.status.final:
        raise RunFinished(run.run_id, run.status)
    if run.stop is RunStop.CANCEL:
        raise RunStopping(run.run_id)


def _check_pausable(run: Run) -> None:
    _check_open(run)
    if run.held:
        raise RunHeld(run.run_id)


def _check_cancellable(run: Run) -> None:
    if run.status.final and run.status is not RunStatus.CANCELLED:
        raise RunFinished(run.run_id, run.status)


def _check_retriable(run: Run) -> None:
    if not run.status.final:
        raise RunNotFinished(run.run_id, run.status)
    if run.status is RunStatus.COMPLETED:
        raise RunFinished(run.run_id, run.status)


CHECKS: Mapping[RunOperation, Callable[[Run], None]] = MappingProxyType(
    {
        RunOperation.PAUSE: _check_pausable,
        RunOperation.RESUME: _check_open,
        RunOperation.CANCEL: _check_cancellable,
        RunOperation.RETRY: _check_retriable,
    }
)
"""What raises the refusal that a run's state brings, by operation."""


async def _check_given(connection: Connection, run: Run) -> None:
    """Raise NothingToRetry if a run never got what it was to be given."""
    parameters = await runs.find_parameters(connection, run.run_id)
    if parameters is None or (parameters.input_file is None and isinstance(parameters.input, Held)):
        raise NothingToRetry(run.run_id, "the run was cancelled while it was held")
