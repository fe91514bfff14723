"""Starts, cancels and describes workflows. Lists of runs never come from Temporal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import WorkflowTaskFailedEventAttributes
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryReverseRequest
from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError

from runs.api import stuck_reasons
from runs.domain.plan import FIRST_EPOCH
from runs.temporal.run_starter import CALL, EPOCH, RunStarter, no_workflow

if TYPE_CHECKING:
    from temporalio.api.common.v1 import WorkflowExecution
    from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse

DECIDED = "decided"

_LATEST_EVENTS = 20


@dataclass(frozen=True, slots=True)
class WorkflowState:
    """The state of a run's workflow."""

    status: str
    """`running`, or how it ended: `completed`, `failed`, `canceled`, `terminated`, `timed_out`."""
    stuck_reason: str
    """Why it does not move; empty when it does, or has ended."""
    epoch: int = FIRST_EPOCH
    """The run's epoch that it is for."""
    execution_id: str = ""
    """Which of the workflows that have had its id."""


class Launcher(RunStarter):
    """Starts, cancels and describes the workflows of runs. All raise TemporalUnavailable."""

    async def cancel(
        self, tenant_id: str, run_id: str, execution_id: str, reason: str = ""
    ) -> bool:
        """Ask one of a run's workflows to stop; return whether it was there, and had not ended."""
        async with self._translated_errors():
            handle = self._handle(tenant_id, run_id, execution_id)
            try:
                await handle.cancel(reason=reason, rpc_timeout=CALL)
            except RPCError as error:
                if not no_workflow(error):
                    raise
                return False
            return True

    async def tell_of_decision(self, tenant_id: str, run_id: str) -> None:
        """Have a run's workflow look for decisions of people; without one nothing happens."""
        async with self._translated_errors():
            try:
                await self._handle(tenant_id, run_id).signal(DECIDED, rpc_timeout=CALL)
            except RPCError as error:
                if not no_workflow(error):
                    raise

    async def describe(self, tenant_id: str, run_id: str) -> WorkflowState | None:
        """Return the state of a run's workflow; None if Temporal knows none."""
        async with self._translated_errors():
            try:
                described = await self._handle(tenant_id, run_id).describe(rpc_timeout=CALL)
            except RPCError as error:
                if not no_workflow(error):
                    raise
                return None
            status = described.status or WorkflowExecutionStatus.RUNNING
            running = status is WorkflowExecutionStatus.RUNNING
            stuck = await self._stuck_reason(described.raw_description) if running else ""
            memo = await described.memo()
        epoch = memo.get(EPOCH, FIRST_EPOCH)
        return WorkflowState(status.name.lower(), stuck, epoch, described.run_id)

    async def _stuck_reason(self, described: DescribeWorkflowExecutionResponse) -> str:
        if described.pending_workflow_task.attempt < stuck_reasons.FAILING_ATTEMPTS:
            return stuck_reasons.of_pending(described)
        failed = await self._failed_task(described.workflow_execution_info.execution)
        return stuck_reasons.of_failed_task(failed)

    async def _failed_task(
        self, execution: WorkflowExecution
    ) -> WorkflowTaskFailedEventAttributes | None:
        """Return how the last task failed that did not end well; None if nobody answered in time.

        Temporal records only the first of several such tasks in a row.
        """
        request = GetWorkflowExecutionHistoryReverseRequest(
            namespace=self._client.namespace, execution=execution, maximum_page_size=_LATEST_EVENTS
        )
        service = self._client.workflow_service
        latest = await service.get_workflow_execution_history_reverse(request, timeout=CALL)
        for event in latest.history.events:
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
                return event.workflow_task_failed_event_attributes
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT:
                return None
        return WorkflowTaskFailedEventAttributes()
