"""Final statuses of runs that their workflows do not record: they are gone, or were ended outside.

A workflow that was terminated, or that its server lost, runs no code that could record it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from runs.domain.runs import Failure, RunStatus
from runs.store import outbox, run_transitions

if TYPE_CHECKING:
    from dataplane.tenants import TenantPools
    from runs.api.launcher import Launcher, WorkflowState
    from runs.domain.runs import Run

_log = logging.getLogger(__name__)


class RunFinalizer:
    """Gives runs their final status in place of their workflows."""

    def __init__(self, tenants: TenantPools, launcher: Launcher) -> None:
        self._tenants = tenants
        self._launcher = launcher

    async def cancel(self, tenant_id: str, run_id: str, epoch: int) -> Run | None:
        """Cancel the workflow of a run that has begun; without one the run ends here and now.

        Returns the run if it ended here. Raises TemporalUnavailable, and the outbox still holds
        the cancellation. A start that comes too late finds the run closed.
        """
        await self._launcher.cancel(tenant_id, run_id)  # does nothing if there is no workflow
        state = await self._launcher.describe(tenant_id, run_id)
        if state is None:
            return await self.finish(tenant_id, run_id, epoch, RunStatus.CANCELLED)
        if state.status != "running":
            return await self.finish(tenant_id, run_id, epoch, *final_status_of(state))
        async with self._tenants.connection(tenant_id) as connection:
            await outbox.remove(connection, run_id, "cancel")
        return None

    async def finish(
        self,
        tenant_id: str,
        run_id: str,
        epoch: int,
        status: RunStatus,
        error: Failure | None = None,
    ) -> Run | None:
        """Give an open run its final status; None if its workflow was faster."""
        async with self._tenants.transaction(tenant_id) as connection:
            finished = await run_transitions.finish(connection, run_id, epoch, status, error)
        if finished is not None:
            _log.warning(
                "a run was finished in place of its workflow",
                extra={
                    "event": "run.finished_without_workflow",
                    "tenant_id": tenant_id,
                    "run_id": run_id,
                    "status": status,
                    "why": "" if error is None else error.reason,
                },
            )
        return finished


def final_status_of(state: WorkflowState) -> tuple[RunStatus, Failure | None]:
    """Return the final status of an open run whose workflow has ended."""
    if state.status == "canceled":
        return RunStatus.CANCELLED, None
    how = state.status.replace("_", " ")
    message = f"the workflow is {how}, and has not recorded how the run ended"
    return RunStatus.FAILED, Failure(f"WORKFLOW_{state.status.upper()}", message)
