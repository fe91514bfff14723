"""What Temporal tells of a workflow to its activities.

`run_stops` tells walks that their run is cancelled; the steps of workflows before version 4 hear it
here, within about a second. A model call is cancelled by the heartbeats of `error_interceptor`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from temporalio import activity
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from temporalio.client import WorkflowExecutionDescription, WorkflowHandle

T = TypeVar("T")

_HEARTBEAT_SECONDS = 0.5
"""Temporal reports a cancellation in its response to a heartbeat; a worker sends one a second at
most."""

_POLL_SECONDS = 1.0
"""Short steps have no heartbeat: Temporal reports it when their workflow's task is renewed, up to
8 s later. So the worker polls."""


async def run_until_cancelled(doing: Coroutine[None, None, T]) -> T:
    """Await `doing`, and cancel it when the run is cancelled: then raise CancelledError."""
    if not activity.info().is_local:
        return await _with_background(_heartbeat_forever(), doing)
    done = asyncio.create_task(doing)
    cancelled = asyncio.create_task(wait_for_cancellation())
    try:
        await asyncio.wait({done, cancelled}, return_when=asyncio.FIRST_COMPLETED)
        if not done.done():
            done.cancel()
            await asyncio.wait({done})
            await asyncio.Event().wait()  # until Temporal cancels the activity
        return done.result()
    finally:
        for task in (done, cancelled):
            task.cancel()
        await asyncio.gather(done, cancelled, return_exceptions=True)


async def _with_background(
    background: Coroutine[None, None, None], doing: Coroutine[None, None, T]
) -> T:
    task = asyncio.create_task(background)
    try:
        return await doing
    finally:
        task.cancel()


async def _heartbeat_forever() -> None:
    while True:
        await asyncio.sleep(_HEARTBEAT_SECONDS)
        activity.heartbeat()


async def wait_for_cancellation() -> None:
    """Wait until the workflow's cancellation has been asked for."""
    workflow = _workflow()
    while True:
        await asyncio.sleep(_POLL_SECONDS)
        try:
            described = await workflow.describe()
        except RPCError:
            continue  # Temporal is away
        if _is_cancelled(described):
            return


async def is_needed_here() -> bool:
    """Return whether an activity's work is to go on in this process, as far as Temporal tells.

    It is not when another process has begun an activity of the same id, and when the workflow is
    over.
    """
    try:
        described = await _workflow().describe()
    except RPCError:
        return True  # Temporal is away
    activity_id, identity = activity.info().activity_id, activity.client().identity
    return described.status is WorkflowExecutionStatus.RUNNING and not any(
        each.activity_id == activity_id
        and each.state == PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
        and each.last_worker_identity != identity
        for each in described.raw_description.pending_activities
    )


def _workflow() -> WorkflowHandle[Any, Any]:
    info = activity.info()
    if info.workflow_id is None:
        raise RuntimeError("the activity belongs to no workflow")
    return activity.client().get_workflow_handle(info.workflow_id, run_id=info.workflow_run_id)


def _is_cancelled(described: WorkflowExecutionDescription) -> bool:
    return described.raw_description.workflow_extended_info.cancel_requested
