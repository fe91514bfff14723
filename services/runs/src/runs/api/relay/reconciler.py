"""Compares runs that have not changed for a while with their workflows."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from runs.api.app.run_finalizer import final_status_of
from runs.domain.runs import Failure, RunStatus
from runs.store import open_runs, outbox

if TYPE_CHECKING:
    from dataplane.tenants import TenantPools
    from runs.api.app.run_finalizer import RunFinalizer
    from runs.api.launcher import Launcher
    from runs.store.open_runs import StaleRun

STALE_AFTER = timedelta(minutes=2)
"""How long a run may stay unchanged before its workflow is described."""

_RUNS = 50


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
        """Check the runs that have not changed for a while. Raises TemporalUnavailable."""
        async with self._tenants.connection(tenant_id) as connection:
            stale = await open_runs.claim_stale(connection, self._stale_after, _RUNS)
        for run in stale:
            state = await self._launcher.describe(tenant_id, run.run_id)
            if state is not None and state.status == "running":
                await self._note(tenant_id, run, state.stuck_reason)
            elif state is not None:
                await self._finalizer.finish(
                    tenant_id, run.run_id, run.epoch, *final_status_of(state)
                )
            elif run.status is RunStatus.PENDING:
                await self._start_again(tenant_id, run)
            else:
                lost = Failure("WORKFLOW_LOST", "Temporal knows no workflow for this run")
                await self._finalizer.finish(
                    tenant_id, run.run_id, run.epoch, RunStatus.FAILED, lost
                )

    async def _note(self, tenant_id: str, run: StaleRun, stuck_reason: str) -> None:
        async with self._tenants.connection(tenant_id) as connection:
            await open_runs.note_stuck(connection, run.run_id, stuck_reason)

    async def _start_again(self, tenant_id: str, run: StaleRun) -> None:
        """Have the outbox hold the run's start, if it does not."""
        async with self._tenants.connection(tenant_id) as connection:
            await outbox.add(connection, run.run_id, "start")
