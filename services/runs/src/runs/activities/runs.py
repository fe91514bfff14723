"""The beginning and the end of a run."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from temporalio import activity

from runs.domain.failures import RunClosed
from runs.domain.runs import Failure, RunStatus
from runs.domain.work import RunEnd, RunRef
from runs.store.pending_work import PendingWorkStore
from servicekit.call import on_behalf_of
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from dataplane.tenants import DataPlane
    from runs.activities.beginnings import Beginnings
    from runs.activities.setups import Setups
    from runs.domain.generation import RunUsage
    from runs.peers.llm_gateway import LlmGateway
    from runs.store.steps import StepStore
    from runs.store.transitions import RunTransitions

_TOLD_SECONDS = 2.0
_LANDED_SOON = timedelta(seconds=1)
_log = logging.getLogger(__name__)


class RunActivities:
    def __init__(
        self,
        data: DataPlane,
        setups: Setups,
        beginnings: Beginnings,
        transitions: RunTransitions,
        steps: StepStore,
        gateway: LlmGateway,
    ) -> None:
        self._tenants = data.tenants
        self._management = data.management
        self._setups = setups
        self._beginnings = beginnings
        self._transitions = transitions
        self._steps = steps
        self._gateway = gateway
        self._pending_work = PendingWorkStore()

    @activity.defn
    async def begin_run(self, run: RunRef) -> bool:
        """Begin the run; False if there is nothing to do. An input that cannot be had fails it."""
        try:
            await self._beginnings.setup(run)
        except RunClosed:
            return False
        return True

    @activity.defn
    async def end_run(self, end: RunEnd) -> None:
        """Give the run its final status, with the first failure of its steps if it failed."""
        run = RunRef(end.tenant_id, end.run_id, end.epoch)
        status = RunStatus(end.status)
        if status is RunStatus.COMPLETED:
            async with self._tenants.connection(run.tenant_id) as connection:
                await self._transitions.complete(connection, run.run_id, run.epoch)
        else:
            await self._finish(run, status, Failure(end.reason, end.message))
        self._setups.forget(run)

    async def _finish(self, run: RunRef, status: RunStatus, reported: Failure) -> None:
        usage = await self._usage(run)
        async with self._tenants.transaction(run.tenant_id) as connection:
            error: Failure | None = None
            if status is RunStatus.FAILED:
                error = await self._steps.find_failure(connection, run) or reported
            ended = await self._transitions.finish(
                connection, run.run_id, run.epoch, status, error, usage
            )
        if ended is not None and ended.totals.calls_open:
            await self._have_checked(run.tenant_id)

    async def _usage(self, run: RunRef) -> RunUsage | None:
        """Return what the run's calls add up to by now; None if llm-gateway does not tell soon."""
        try:
            if not (await self._setups.find(run)).run.prompt_versions:
                return None  # it asks no models
            async with asyncio.timeout(_TOLD_SECONDS):
                with on_behalf_of(tenant_id=run.tenant_id):
                    (usage,) = await self._gateway.sums(run.tenant_id, [run.run_id])
        except (RunClosed, DomainError, TimeoutError):
            return None
        return usage

    async def _have_checked(self, tenant_id: str) -> None:
        """Have a relay come soon; it comes in half a minute anyway."""
        try:
            async with self._management.connection() as connection:
                await self._pending_work.note(connection, tenant_id, _LANDED_SOON)
        except DomainError as error:
            _log.info("a relay will come later", extra={"why": error.message})
