"""Deleting workflows in Temporal until it lists none."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.service import RPCError, RPCStatusCode

from runs.errors import TemporalUnavailable
from runs.temporal.schedules import translated_errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection

    from temporalio.client import Client

CALL = timedelta(seconds=10)
_AT_ONCE = 16
_PAUSE_SECONDS = 0.5
_ROUNDS = 360  # three minutes: of one that has just ended it deletes nothing for half a minute
_QUIET_ROUNDS = 3


async def delete_listed(
    client: Client, find: Callable[[], Awaitable[Collection[tuple[str, str]]]]
) -> AsyncIterator[int]:
    """Delete the executions that `find` lists, by workflow id and run id, until it lists none.

    Temporal deletes later than it answers, and lists later than it starts: they are gone once none
    has been listed for a while. Yields how many it was asked to delete. Raises TemporalUnavailable.
    """
    deleted: set[tuple[str, str]] = set()
    quiet = 0
    for _ in range(_ROUNDS):
        found = await find()
        quiet = 0 if found else quiet + 1
        if quiet == _QUIET_ROUNDS:
            return
        left = [key for key in found if key not in deleted]
        for start in range(0, len(left), _AT_ONCE):
            part = left[start : start + _AT_ONCE]
            await asyncio.gather(*(_delete(client, *key) for key in part))
            deleted |= set(part)
            yield len(deleted)
        await asyncio.sleep(_PAUSE_SECONDS)
    raise TemporalUnavailable("Temporal still lists workflows that it was told to delete")


async def _delete(client: Client, workflow_id: str, run_id: str) -> None:
    """Delete a workflow; one that runs is terminated by that.

    To terminate it first would make Temporal 1.32 take half a minute for each.
    """
    request = DeleteWorkflowExecutionRequest(
        namespace=client.namespace,
        workflow_execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
    )
    async with translated_errors():
        try:
            await client.workflow_service.delete_workflow_execution(request, timeout=CALL)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
