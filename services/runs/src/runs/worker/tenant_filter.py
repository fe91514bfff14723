"""Keeps a worker to the tenants that it is for.

CreateRun looks for a worker of the pipeline's task queue that does the tenant's runs; Temporal
hands the queue's tasks to any of its workers. What this one may not do goes back: the task of a
workflow as a task that has failed, which another worker may take, and an activity to be retried.
Nothing of the run is recorded, read or run here.
"""

# Temporal leaves the types of functions for workflows open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from temporalio import activity, workflow
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.worker import (
    ActivityInboundInterceptor,
    Interceptor,
    WorkflowInboundInterceptor,
)

from runs.domain.failures import TENANT_NOT_TAKEN
from runs.domain.plan import tenant_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from temporalio.worker import (
        ExecuteActivityInput,
        ExecuteWorkflowInput,
        WorkflowInterceptorClassInput,
    )

_RETRY = timedelta(seconds=5)
_TAKES = "nagaya_takes_tenant"


class TenantNotTaken(Exception):
    """The worker does not do runs of this tenant. It fails the task, and not the run."""


class TenantFilter(Interceptor):
    """Hands back whatever is for other tenants; a worker for no tenants in particular does all."""

    def __init__(self, tenants: frozenset[str]) -> None:
        self._tenants = tenants

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Activities(next, self._takes) if self._tenants else next

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor] | None:
        if not self._tenants:
            return None
        input.unsafe_extern_functions[_TAKES] = self._takes
        return _Workflows

    def _takes(self, workflow_id: str) -> bool:
        return tenant_of(workflow_id) in self._tenants


class _Activities(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, takes: Callable[[str], bool]) -> None:
        super().__init__(next)
        self._takes = takes

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: ANN401 - Temporal's signature
        if self._takes(activity.info().workflow_id or ""):
            return await self.next.execute_activity(input)
        raise ApplicationError(
            "this worker does not do the tenant's runs",
            type=TENANT_NOT_TAKEN,
            next_retry_delay=_RETRY,
            category=ApplicationErrorCategory.BENIGN,
        )


class _Workflows(WorkflowInboundInterceptor):
    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:  # noqa: ANN401 - Temporal's signature
        if not workflow.extern_functions()[_TAKES](workflow.info().workflow_id):
            raise TenantNotTaken("this worker does not do the tenant's runs")
        return await self.next.execute_workflow(input)
