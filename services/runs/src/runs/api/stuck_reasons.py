"""Why a run does not move, as far as Temporal tells of its workflow."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from temporalio.api.enums.v1 import PendingActivityState, PendingWorkflowTaskState

from runs.domain.failures import TENANT_NOT_TAKEN, TENANT_SHARE_TAKEN
from runs.domain.waiting import Waiting
from servicekit.times import now

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp
    from temporalio.api.history.v1 import WorkflowTaskFailedEventAttributes
    from temporalio.api.workflow.v1 import PendingActivityInfo
    from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse

FAILING_ATTEMPTS = 2
_WAITING = timedelta(seconds=10)
_NO_TASKS = "no worker takes the run's tasks: is a worker running?"
_NO_STEPS = "no worker takes the run's steps: is a worker running?"
_SHARE_TAKEN = "the run waits until its tenant holds less of the workers than its share"
_OTHERS_ONLY = "the workers of its task queue do not do this tenant's runs (NAGAYA_WORKER_TENANTS)"
_GONE = "the worker that had the run's tasks is gone or hangs, so they are given out again"


def of_failed_task(failed: WorkflowTaskFailedEventAttributes | None) -> str:
    """Return why a workflow's task is tried again; `failed` tells of the last one that failed.

    It is the worker's code or build, unless nobody answered in time (None).
    """
    if failed is None:
        return _GONE
    kind = failed.failure.application_failure_info.type
    if kind == "TenantNotTaken":
        return _OTHERS_ONLY
    return f"the workflow's code fails on worker {failed.identity}" + (f": {kind}" if kind else "")


def of_pending(described: DescribeWorkflowExecutionResponse) -> str:
    """Return why a workflow does not move whose tasks do not fail; empty when it does move."""
    task = described.pending_workflow_task
    if described.HasField("pending_workflow_task"):
        waits = task.state == PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_SCHEDULED
        if waits and _long_ago(task.scheduled_time):
            return _NO_TASKS + _build(described)
    for activity in described.pending_activities:
        if reason := _of_activity(activity):
            return reason + _build(described) if reason == _NO_STEPS else reason
    return ""


def _build(described: DescribeWorkflowExecutionResponse) -> str:
    """Tell which build of the worker the run stays with, if it does."""
    versioning = described.workflow_execution_info.versioning_info
    build_id = versioning.deployment_version.build_id
    return f" It stays with build {build_id}" if build_id else ""


def _of_activity(activity: PendingActivityInfo) -> str:
    kind = activity.last_failure.application_failure_info.type or "a timeout"
    shared = kind == TENANT_SHARE_TAKEN
    again = activity.attempt >= FAILING_ATTEMPTS and not shared
    if activity.state == PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED:
        due = activity.scheduled_time
        if kind == TENANT_NOT_TAKEN:
            return _OTHERS_ONLY
        if again and due.ToDatetime(now().tzinfo) > now():
            at = f"{due.ToDatetime():%H:%M:%S} UTC"
            return f"{activity.activity_id} is tried again at {at}: the last attempt was {kind}"
        if _long_ago(due):
            return _SHARE_TAKEN if shared else _NO_STEPS
        return ""
    waiting = Waiting.parse([payload.data for payload in activity.heartbeat_details.payloads])
    if waiting.reason:
        return str(waiting)
    if again:
        worker = activity.last_worker_identity
        return f"{activity.activity_id} is tried again and again, now on worker {worker}: {kind}"
    return ""


def _long_ago(moment: Timestamp) -> bool:
    return now() - moment.ToDatetime(now().tzinfo) > _WAITING
