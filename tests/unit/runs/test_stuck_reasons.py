"""Why a run does not move, from what Temporal tells of its workflow."""

from __future__ import annotations

import json
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.enums.v1 import PendingActivityState, PendingWorkflowTaskState
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure
from temporalio.api.history.v1 import WorkflowTaskFailedEventAttributes
from temporalio.api.workflow.v1 import PendingActivityInfo, PendingWorkflowTaskInfo
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse

from runs.api import stuck_reasons
from runs.domain.failures import TENANT_NOT_TAKEN, TENANT_SHARE_TAKEN
from runs.domain.waiting import Waiting
from servicekit.times import now

if TYPE_CHECKING:
    from collections.abc import Callable

STARTED = PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
SCHEDULED = PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED
NOBODY = "no worker takes the run's steps: is a worker running?"


def activity(
    state: PendingActivityState.ValueType,
    attempt: int = 1,
    failed: str = "",
    due: float = 0.0,
    details: tuple[str, ...] = (),
) -> PendingActivityInfo:
    """An activity; `due` is in how many seconds it is, or was, to be given to a worker."""
    payloads = [Payload(data=json.dumps(detail).encode()) for detail in details]
    found = PendingActivityInfo(
        activity_id="draft 1-10",
        state=state,
        attempt=attempt,
        last_worker_identity="7@host",
        heartbeat_details=Payloads(payloads=payloads),
    )
    if failed:
        info = ApplicationFailureInfo(type=failed)
        found.last_failure.CopyFrom(Failure(application_failure_info=info))
    found.scheduled_time.FromDatetime(now() + timedelta(seconds=due))
    return found


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (partial(activity, STARTED), ""),
        (partial(activity, STARTED, details=("draft #3", "")), ""),
        (
            partial(activity, STARTED, details=("draft #3", "llm-gateway cannot be reached")),
            "draft #3: llm-gateway cannot be reached",
        ),
        (
            partial(activity, STARTED, details=("", "the run's input is being copied")),
            "the run's input is being copied",
        ),
        (
            partial(activity, STARTED, attempt=3, failed="INTERNAL"),
            "draft 1-10 is tried again and again, now on worker 7@host: INTERNAL",
        ),
        (partial(activity, SCHEDULED), ""),
        (partial(activity, SCHEDULED, due=-60), NOBODY),
        (partial(activity, SCHEDULED, attempt=5, failed=TENANT_SHARE_TAKEN, due=5), ""),
        (
            partial(activity, SCHEDULED, attempt=5, failed=TENANT_SHARE_TAKEN, due=-60),
            "the run waits until its tenant holds less of the workers than its share",
        ),
        (
            partial(activity, SCHEDULED, attempt=5, failed=TENANT_NOT_TAKEN, due=5),
            "the workers of its task queue do not do this tenant's runs (NAGAYA_WORKER_TENANTS)",
        ),
    ],
    ids=[
        "at work",
        "at work on an element",
        "waiting for a service",
        "copying the input",
        "lost again and again",
        "just scheduled",
        "taken by nobody",
        "handed back a moment ago",
        "handed back long ago",
        "of another tenant",
    ],
)
def test_an_activity_tells_why_its_run_does_not_move(
    found: Callable[[], PendingActivityInfo], expected: str
) -> None:
    both = [activity(STARTED), found()]
    described = DescribeWorkflowExecutionResponse(pending_activities=both)

    assert stuck_reasons.of_pending(described) == expected


def test_a_step_that_waits_for_its_next_attempt_says_until_when() -> None:
    later = activity(SCHEDULED, attempt=2, failed="PROVIDER_LIMITED", due=3_600)
    at = later.scheduled_time.ToDatetime()

    reason = stuck_reasons.of_pending(DescribeWorkflowExecutionResponse(pending_activities=[later]))
    assert reason == (
        f"draft 1-10 is tried again at {at:%H:%M:%S} UTC: the last attempt was PROVIDER_LIMITED"
    )


def test_a_task_that_no_worker_takes_is_waited_for_a_moment() -> None:
    scheduled = PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_SCHEDULED
    task = PendingWorkflowTaskInfo(state=scheduled)
    reasons: list[str] = []
    for seconds in (1, 60):
        task.scheduled_time.FromDatetime(now() - timedelta(seconds=seconds))
        described = DescribeWorkflowExecutionResponse(pending_workflow_task=task)
        reasons.append(stuck_reasons.of_pending(described))

    assert reasons == ["", "no worker takes the run's tasks: is a worker running?"]


def test_a_failing_worker_is_named() -> None:
    info = ApplicationFailureInfo(type="_NondeterminismError")
    failed = WorkflowTaskFailedEventAttributes(
        identity="7@host", failure=Failure(message="CANARY", application_failure_info=info)
    )

    assert stuck_reasons.of_failed_task(failed) == (
        "the workflow's code fails on worker 7@host: _NondeterminismError"
    )


@pytest.mark.parametrize("details", [[], [b"\xff"], [b"7"], [b"{", b"[]"]])
def test_a_heartbeat_of_another_build_tells_nothing_wrong(details: list[bytes]) -> None:
    assert Waiting.parse(details).reason == ""


def test_what_is_waited_for_is_read_as_it_was_sent() -> None:
    waiting = Waiting("draft #3", "llm-gateway cannot be reached")
    details = [json.dumps(detail).encode() for detail in waiting.details()]

    assert Waiting.parse(details) == waiting
    assert Waiting().details() == ()
