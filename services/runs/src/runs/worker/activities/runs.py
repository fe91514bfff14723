"""The activities that begin and end a run."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from temporalio import activity

from dataplane import pending_work
from runs.domain.activities import RunEnd, RunRef
from runs.domain.failures import RunClosed
from runs.domain.runs import Failure, RunStatus
from runs.domain.transitions import Transitions
from runs.metrics import run_ended
from runs.store import run_steering, run_transitions, steps
from runs.store.pending_work import PENDING_WORK
from servicekit.call import on_behalf_of
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from dataplane.tenants import DataPlane
    from runs.domain.generation import RunUsage
    from runs.peers.llm_gateway import LlmGateway
    from runs.worker.activities.journal import Journal
    from runs.worker.activities.run_context import RunContextCache
    from runs.worker.activities.run_initializer import RunInitializer

_USAGE_SECONDS = 2.0
_CHECK_DELAY_SECONDS = 1.0
_RESUME_DELAY_SECONDS = 0.2
"""The workflow ends before its run's next one begins."""
_log = logging.getLogger(__name__)


class RunActivities:
    """Temporal calls these by the names of the methods."""

    def __init__(
        self,
        data: DataPlane,
        journal: Journal,
        contexts: RunContextCache,
        initializer: RunInitializer,
        gateway: LlmGateway,
    ) -> None:
        self._tenants = data.tenants
        self._management = data.management
        self._journal = journal
        self._contexts = contexts
        self._initializer = initializer
        self._gateway = gateway

    @activity.defn
    async def begin_run(self, run: RunRef) -> bool:
        """Begin the run; False if there is nothing to do. An input that cannot be had fails it."""
        try:
            await self._initializer.initialize(run)
        except RunClosed:
            return False
        return True

    @activity.defn
    async def end_run(self, end: RunEnd) -> None:
        """Give the run its final status; if it failed, with the error of the step that it is for.

        A run whose workflow was cancelled for it to pause is paused.
        """
        run = RunRef(end.tenant_id, end.run_id, end.epoch)
        status = RunStatus(end.status)
        if status is RunStatus.COMPLETED:
            await self._journal.advance(run, Transitions(completes_run=True))
        elif status is not RunStatus.CANCELLED or not await self._pause(run):
            await self._finish(
                run, status, Failure(end.reason, end.message, end.step, visit=end.visit)
            )
        self._contexts.discard(run)

    async def _pause(self, run: RunRef) -> bool:
        """Pause the run, or have it go on if that was withdrawn; False if it was cancelled."""
        async with self._tenants.transaction(run.tenant_id) as connection:
            paused = await run_steering.pause_or_go_on(connection, run.run_id, run.epoch)
        if paused is not None and paused.status is RunStatus.RUNNING:
            await self._schedule_relay(run.tenant_id, _RESUME_DELAY_SECONDS)
        elif paused is not None:
            self._journal.start_next(run.tenant_id)
        return paused is not None

    async def _finish(self, run: RunRef, status: RunStatus, reported: Failure) -> None:
        usage = await self._usage(run)
        async with self._tenants.transaction(run.tenant_id) as connection:
            error: Failure | None = None
            if status is RunStatus.FAILED:
                error = await steps.find_failure(connection, run.run_id, reported) or reported
            ended = await run_transitions.finish(
                connection, run.run_id, run.epoch, status, error, usage
            )
        if ended is not None:
            run_ended(ended.pipeline, ended.status, ended.duration)
            self._journal.start_next(run.tenant_id)
        if ended is not None and ended.totals.calls_open:
            await self._schedule_relay(run.tenant_id, _CHECK_DELAY_SECONDS)

    async def _usage(self, run: RunRef) -> RunUsage | None:
        """Return what the run's calls have used; None if llm-gateway does not answer soon."""
        try:
            if not (await self._contexts.find(run)).run.prompt_versions:
                return None  # it asks no models
            async with asyncio.timeout(_USAGE_SECONDS):
                with on_behalf_of(tenant_id=run.tenant_id):
                    (usage,) = await self._gateway.summarize_usage(run.tenant_id, [run.run_id])
        except (RunClosed, DomainError, TimeoutError):
            return None
        return usage

    async def _schedule_relay(self, tenant_id: str, seconds: float) -> None:
        """Have a relay visit the tenant soon; it does so in half a minute anyway."""
        try:
            async with self._management.connection() as connection:
                await pending_work.insert(connection, PENDING_WORK, [tenant_id], seconds)
        except DomainError as error:
            _log.info(
                "a relay visits the tenant later",
                extra={"event": "relay.visit_postponed", "why": error.message},
            )
