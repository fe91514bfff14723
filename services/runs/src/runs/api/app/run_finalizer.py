"""Final statuses of runs that their workflows do not record: they are gone, or were ended outside.

A workflow that was terminated, or that its server lost, runs no code that could record it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from runs.domain.plan import TO_PAUSE
from runs.domain.runs import Failure, RunStatus, RunStop
from runs.metrics import run_ended
from runs.store import outbox, run_steering, run_transitions

if TYPE_CHECKING:
    from dataplane.tenants import TenantPools
    from runs.api.launcher import Launcher, WorkflowState
    from runs.domain.runs import Run

_log = logging.getLogger(__name__)


class RunFinalizer:
    """Ends or pauses runs in place of their workflows."""

    def __init__(self, tenants: TenantPools, launcher: Launcher) -> None:
        self._tenants = tenants
        self._launcher = launcher

    async def stop(self, tenant_id: str, run_id: str, epoch: int) -> Run | None:
        """Have the workflow of a run end that is told to stop; without one the run does so here.

        Returns the run if it came to its rest or its end here. Raises TemporalUnavailable, and the
        outbox still holds the message. A start that comes too late finds the run closed.
        """
        state = await self._launcher.describe(tenant_id, run_id)
        reason = await self._reason(tenant_id, run_id)
        while state is not None and state.epoch == epoch and state.status == "running":
            if await self._launcher.cancel(tenant_id, run_id, state.execution_id, reason):
                async with self._tenants.connection(tenant_id) as connection:
                    await outbox.remove(connection, run_id, epoch, "cancel")
                return None
            state = await self._launcher.describe(tenant_id, run_id)
        ended = RunStatus.CANCELLED, None
        if state is not None and state.epoch >= epoch:
            ended = final_status_of(state)
        finished = await self.finish(tenant_id, run_id, epoch, *ended)
        if finished is None:
            # It ended by itself, in a statement that did not see this message: it began before.
            async with self._tenants.connection(tenant_id) as connection:
                await outbox.remove(connection, run_id, epoch, "cancel")
        return finished

    async def _reason(self, tenant_id: str, run_id: str) -> str:
        async with self._tenants.connection(tenant_id) as connection:
            found = await run_steering.find_stops(connection, [run_id])
        return TO_PAUSE if run_id in found and found[run_id].stop is RunStop.PAUSE else ""

    async def finish(
        self,
        tenant_id: str,
        run_id: str,
        epoch: int,
        status: RunStatus,
        error: Failure | None = None,
    ) -> Run | None:
        """Give an open run its final status, or pause it if it was told to; None if its workflow
        was faster.
        """
        async with self._tenants.transaction(tenant_id) as connection:
            finished = await run_steering.pause_or_go_on(connection, run_id, epoch)
            if finished is None:
                finished = await run_transitions.finish(connection, run_id, epoch, status, error)
        if finished is not None:
            if finished.status.final:
                run_ended(finished.pipeline, finished.status, finished.duration)
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
