"""Ends of runs that their workflows do not record: they are gone, or were ended from outside.

A workflow that was terminated, or that its server lost, runs no code that could record it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from runs.domain.runs import Failure, RunStatus

if TYPE_CHECKING:
    from dataplane.tenants import TenantPools
    from runs.domain.runs import Run
    from runs.launcher import Launcher, WorkflowState
    from runs.store.stores import Stores

_log = logging.getLogger(__name__)


class Endings:
    def __init__(self, tenants: TenantPools, stores: Stores, launcher: Launcher) -> None:
        self._tenants = tenants
        self._stores = stores
        self._launcher = launcher

    async def cancel(self, tenant_id: str, run_id: str, epoch: int) -> Run | None:
        """Have the workflow of a run that has begun stop; without one the run ends here and now.

        Returns the run if it ended here. Raises TemporalUnavailable, and the outbox still holds
        what was to be told. A start that comes too late finds the run closed.
        """
        await self._launcher.cancel(tenant_id, run_id)  # which says nothing if there is none
        state = await self._launcher.describe(tenant_id, run_id)
        if state is None:
            return await self.end(tenant_id, run_id, epoch, RunStatus.CANCELLED)
        if state.status != "running":
            return await self.end(tenant_id, run_id, epoch, *verdict(state))
        async with self._tenants.connection(tenant_id) as connection:
            await self._stores.outbox.remove(connection, run_id, "cancel")
        return None

    async def end(
        self,
        tenant_id: str,
        run_id: str,
        epoch: int,
        status: RunStatus,
        error: Failure | None = None,
    ) -> Run | None:
        """Give an open run its final status; None if its workflow was faster."""
        async with self._tenants.transaction(tenant_id) as connection:
            ended = await self._stores.transitions.finish(connection, run_id, epoch, status, error)
        if ended is not None:
            why = "" if error is None else error.reason
            about = {"tenant_id": tenant_id, "run_id": run_id, "status": status, "why": why}
            _log.warning("a run was ended for its workflow", extra=about)
        return ended


def verdict(state: WorkflowState) -> tuple[RunStatus, Failure | None]:
    """Tell what an open run has come to whose workflow has ended."""
    if state.status == "canceled":
        return RunStatus.CANCELLED, None
    how = state.status.replace("_", " ")
    message = f"the workflow is {how}, and has not recorded how the run ended"
    return RunStatus.FAILED, Failure(f"WORKFLOW_{state.status.upper()}", message)
