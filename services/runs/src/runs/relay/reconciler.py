"""Runs that have gone silent are compared with their workflows.

A workflow that was terminated, or that its server lost, runs no code that could record it.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from runs.domain.runs import Failure, RunStatus

if TYPE_CHECKING:
    from dataplane.tenants import TenantPools
    from runs.launcher import Launcher, WorkflowState
    from runs.store.open_runs import SilentRun
    from runs.store.stores import Stores

SILENCE = timedelta(minutes=2)

_RUNS = 50
_log = logging.getLogger(__name__)


class Reconciler:
    """Makes a tenant's silent runs agree with what Temporal says of them."""

    def __init__(
        self,
        tenants: TenantPools,
        stores: Stores,
        launcher: Launcher,
        silence: timedelta = SILENCE,
    ) -> None:
        self._tenants = tenants
        self._stores = stores
        self._launcher = launcher
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
                await self._end(tenant_id, run, *_outcome(state))
            elif run.status is RunStatus.PENDING:
                await self._start_again(tenant_id, run)
            else:
                lost = Failure("WORKFLOW_LOST", "Temporal knows no workflow for this run")
                await self._end(tenant_id, run, RunStatus.FAILED, lost)

    async def _note(self, tenant_id: str, run: SilentRun, stuck_reason: str) -> None:
        async with self._tenants.connection(tenant_id) as connection:
            await self._stores.open_runs.note_stuck(connection, run.run_id, stuck_reason)

    async def _end(
        self, tenant_id: str, run: SilentRun, status: RunStatus, error: Failure | None
    ) -> None:
        async with self._tenants.transaction(tenant_id) as connection:
            ended = await self._stores.transitions.finish(
                connection, run.run_id, run.epoch, status, error
            )
        if ended is not None:
            why = "" if error is None else error.reason
            about = {"tenant_id": tenant_id, "run_id": run.run_id, "status": status, "why": why}
            _log.warning("a run was ended for its workflow", extra=about)

    async def _start_again(self, tenant_id: str, run: SilentRun) -> None:
        """Have the outbox hold the run's start, if it does not."""
        async with self._tenants.connection(tenant_id) as connection:
            await self._stores.outbox.add(connection, run.run_id, "start")


def _outcome(state: WorkflowState) -> tuple[RunStatus, Failure | None]:
    if state.status == "canceled":
        return RunStatus.CANCELLED, None
    how = state.status.replace("_", " ")
    message = f"the workflow is {how}, and has not recorded how the run ended"
    return RunStatus.FAILED, Failure(f"WORKFLOW_{state.status.upper()}", message)
