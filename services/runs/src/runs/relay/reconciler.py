"""Runs that have gone silent are compared with their workflows."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from runs.app.endings import verdict
from runs.domain.runs import Failure, RunStatus

if TYPE_CHECKING:
    from dataplane.tenants import TenantPools
    from runs.app.endings import Endings
    from runs.launcher import Launcher
    from runs.store.open_runs import SilentRun
    from runs.store.stores import Stores

SILENCE = timedelta(minutes=2)

_RUNS = 50


class Reconciler:
    """Makes a tenant's silent runs agree with what Temporal says of them."""

    def __init__(
        self,
        tenants: TenantPools,
        stores: Stores,
        launcher: Launcher,
        endings: Endings,
        silence: timedelta = SILENCE,
    ) -> None:
        self._tenants = tenants
        self._stores = stores
        self._launcher = launcher
        self._endings = endings
        self._silence = silence

    async def reconcile(self, tenant_id: str) -> None:
        """Check the runs that nothing has been heard of. Raises TemporalUnavailable."""
        async with self._tenants.connection(tenant_id) as connection:
            silent = await self._stores.open_runs.claim_silent(connection, self._silence, _RUNS)
        for run in silent:
            state = await self._launcher.describe(tenant_id, run.run_id)
            if state is not None and state.status == "running":
                await self._note(tenant_id, run, state.stuck_reason)
            elif state is not None:
                await self._endings.end(tenant_id, run.run_id, run.epoch, *verdict(state))
            elif run.status is RunStatus.PENDING:
                await self._start_again(tenant_id, run)
            else:
                lost = Failure("WORKFLOW_LOST", "Temporal knows no workflow for this run")
                await self._endings.end(tenant_id, run.run_id, run.epoch, RunStatus.FAILED, lost)

    async def _note(self, tenant_id: str, run: SilentRun, stuck_reason: str) -> None:
        async with self._tenants.connection(tenant_id) as connection:
            await self._stores.open_runs.note_stuck(connection, run.run_id, stuck_reason)

    async def _start_again(self, tenant_id: str, run: SilentRun) -> None:
        """Have the outbox hold the run's start, if it does not."""
        async with self._tenants.connection(tenant_id) as connection:
            await self._stores.outbox.add(connection, run.run_id, "start")
