"""The beginning and the end of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from temporalio import activity

from runs.domain.failures import RunClosed
from runs.domain.runs import Failure, RunStatus
from runs.domain.work import RunEnd, RunRef

if TYPE_CHECKING:
    from dataplane.tenants import TenantPools
    from runs.activities.beginnings import Beginnings
    from runs.activities.setups import Setups
    from runs.store.steps import StepStore
    from runs.store.transitions import RunTransitions


class RunActivities:
    def __init__(
        self,
        tenants: TenantPools,
        setups: Setups,
        beginnings: Beginnings,
        transitions: RunTransitions,
        steps: StepStore,
    ) -> None:
        self._tenants = tenants
        self._setups = setups
        self._beginnings = beginnings
        self._transitions = transitions
        self._steps = steps

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
        async with self._tenants.transaction(run.tenant_id) as connection:
            error: Failure | None = None
            if status is RunStatus.FAILED:
                error = await self._steps.find_failure(connection, run) or reported
            await self._transitions.finish(connection, run.run_id, run.epoch, status, error)
