"""Compares runs that have not changed for a while with their workflows."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from runs.api.app.run_finalizer import final_status_of
from runs.domain.plan import FIRST_EPOCH
from runs.domain.runs import Failure, RunStatus
from runs.errors import TemporalUnavailable
from runs.store import open_runs, outbox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dataplane.tenants import TenantPools
    from runs.api.app.run_finalizer import RunFinalizer
    from runs.api.launcher import Launcher
    from runs.store.open_runs import StaleRun

STALE_AFTER = timedelta(seconds=15)
"""How long a run may stay unchanged before its workflow is described, and then between two times.
Why it does not move is to be known within a minute."""

_RUNS = 400
_AT_ONCE = 8
_AWAY = "Temporal cannot be reached"


class Reconciler:
    """Makes a tenant's stale runs agree with their workflows."""

    def __init__(
        self,
        tenants: TenantPools,
        launcher: Launcher,
        finalizer: RunFinalizer,
        stale_after: timedelta = STALE_AFTER,
    ) -> None:
        self._tenants = tenants
        self._launcher = launcher
        self._finalizer = finalizer
        self._stale_after = stale_after

    async def reconcile(self, tenant_id: str) -> None:
        """Check the runs that have not changed for a while. Raises TemporalUnavailable.

        Of very many it checks some, those that were not checked for longest first.
        """
        stale = await self._claim(tenant_id)
        at_once = asyncio.Semaphore(_AT_ONCE)

        async def check(run: StaleRun) -> None:
            async with at_once:
                await self._check(tenant_id, run)

        outcomes = await asyncio.gather(*map(check, stale), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, TemporalUnavailable):
                await self._note_all(tenant_id, stale, _AWAY)
            if isinstance(outcome, BaseException):
                raise outcome

    async def note_outage(self, tenant_id: str) -> None:
        """Note of the runs that have not changed for a while that Temporal cannot be reached."""
        await self._note_all(tenant_id, await self._claim(tenant_id), _AWAY)

    async def _claim(self, tenant_id: str) -> tuple[StaleRun, ...]:
        async with self._tenants.connection(tenant_id) as connection:
            return await open_runs.claim_stale(connection, self._stale_after, _RUNS)

    async def _check(self, tenant_id: str, run: StaleRun) -> None:
        state = await self._launcher.describe(tenant_id, run.run_id)
        if state is not None and state.epoch < run.epoch:
            await self._start_again(tenant_id, run)
        elif state is not None and state.status == "running":
            await self._note_all(tenant_id, [run], state.stuck_reason)
        elif state is not None:
            await self._finalizer.finish(tenant_id, run.run_id, run.epoch, *final_status_of(state))
        elif run.status is RunStatus.PENDING or run.epoch > FIRST_EPOCH:
            await self._start_again(tenant_id, run)
        else:
            lost = Failure("WORKFLOW_LOST", "Temporal knows no workflow for this run")
            await self._finalizer.finish(tenant_id, run.run_id, run.epoch, RunStatus.FAILED, lost)

    async def _note_all(self, tenant_id: str, stale: Sequence[StaleRun], reason: str) -> None:
        changed = [run.run_id for run in stale if run.stuck_reason != reason]
        if changed:
            async with self._tenants.connection(tenant_id) as connection:
                await open_runs.note_stuck(connection, changed, reason)

    async def _start_again(self, tenant_id: str, run: StaleRun) -> None:
        """Have the outbox hold the run's start, if it does not."""
        async with self._tenants.connection(tenant_id) as connection:
            await outbox.add(connection, run.run_id, "start")
