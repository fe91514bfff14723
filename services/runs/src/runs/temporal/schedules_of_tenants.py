"""The schedules of tenants in Temporal: removed with the histories of the workflows behind them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.service import RPCError, RPCStatusCode

from runs.domain.schedules import SCHEDULES
from runs.errors import TemporalUnavailable
from runs.temporal.schedules import translated_errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from temporalio.client import Client

_CALL = timedelta(seconds=10)
_BEHIND = "temporal-sys-scheduler:"
"""What the id of the workflow behind a schedule begins with, before the schedule's."""

_DIVISION = 'TemporalNamespaceDivision = "TemporalScheduler"'
_PAUSE_SECONDS = 0.5
_ROUNDS = 360
_QUIET_ROUNDS = 3


class TenantSchedules:
    """The schedules of tenants in one namespace of Temporal.

    A schedule is a workflow of Temporal's own, which ends when the schedule is deleted, and whose
    history stays for as long as any other's. Temporal lists later than it deletes: they are gone
    once none has been listed for a while. Methods raise TemporalUnavailable.
    """

    method = "DeleteWorkflowExecution of the workflows behind them"

    def __init__(self, client: Client) -> None:
        self.name = f"schedules in Temporal's namespace {client.namespace}"
        self._client = client

    async def count(self, tenant_id: str) -> int:
        """Return how many schedules of a tenant are listed, deleted ones included."""
        return len(await self._found(tenant_id))

    async def remove(self, tenant_id: str) -> AsyncIterator[int]:
        """Delete schedules until none is listed; yield how many it was asked to delete."""
        deleted: set[tuple[str, str]] = set()
        quiet = 0
        for _ in range(_ROUNDS):
            found = await self._found(tenant_id)
            quiet = 0 if found else quiet + 1
            if quiet == _QUIET_ROUNDS:
                return
            for key in found - deleted:
                await self._delete(*key)
                deleted.add(key)
                yield len(deleted)
            await asyncio.sleep(_PAUSE_SECONDS)
        raise TemporalUnavailable("Temporal still lists schedules that it was told to delete")

    async def tenant_ids(self) -> AsyncIterator[str]:
        """Yield whose schedules there are."""
        for tenant_id in sorted({one.partition(SCHEDULES)[0] for one, _ in await self._listed("")}):
            yield tenant_id

    async def unproven(self, tenant_id: str) -> Sequence[str]:
        """Return what an empty list does not prove."""
        del tenant_id
        return ()

    async def _found(self, tenant_id: str) -> set[tuple[str, str]]:
        prefix = f"{_BEHIND}{tenant_id}{SCHEDULES}"
        return await self._listed(f' AND WorkflowId STARTS_WITH "{prefix}"')

    async def _listed(self, condition: str) -> set[tuple[str, str]]:
        """Return the ids of schedules, and of the executions of the workflows behind them."""
        async with translated_errors():
            listed = self._client.list_workflows(_DIVISION + condition, rpc_timeout=_CALL)
            found = {(one.id.removeprefix(_BEHIND), one.run_id) async for one in listed}
        return {key for key in found if SCHEDULES in key[0]}

    async def _delete(self, schedule_id: str, run_id: str) -> None:
        """Delete the workflow behind a schedule, and the schedule by that.

        To delete the schedule first would end the workflow, and of one that has just ended Temporal
        1.32 deletes nothing for half a minute.
        """
        request = DeleteWorkflowExecutionRequest(
            namespace=self._client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=_BEHIND + schedule_id, run_id=run_id),
        )
        async with translated_errors():
            try:
                await self._client.workflow_service.delete_workflow_execution(
                    request, timeout=_CALL
                )
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND:
                    raise
