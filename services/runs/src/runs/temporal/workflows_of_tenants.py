"""The workflows of tenants, by their ids `{tenant}/{run}`: removed with their histories."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.service import RPCError, RPCStatusCode

from runs.errors import TemporalUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from temporalio.client import Client

_CALL = timedelta(seconds=10)
_AT_ONCE = 16
_PAGE = 1000
_PAUSE_SECONDS = 0.5
_ROUNDS = 360  # three minutes: of one that has just ended it deletes nothing for half a minute
_QUIET_ROUNDS = 3


class TenantWorkflows:
    """The workflows of tenants in one namespace of Temporal.

    Temporal deletes later than it answers, and lists later than it starts: they are gone once none
    has been listed for a while. Methods raise TemporalUnavailable.
    """

    method = "DeleteWorkflowExecution, which terminates those that run"

    def __init__(self, client: Client) -> None:
        self.name = f"workflows and their histories in Temporal's namespace {client.namespace}"
        self._client = client

    async def count(self, tenant_id: str) -> int:
        """Return how many workflows of a tenant are listed."""
        return len(await self._found(tenant_id))

    async def remove(self, tenant_id: str) -> AsyncIterator[int]:
        """Delete workflows until none is listed; yield how many it was asked to delete."""
        deleted: set[tuple[str, str]] = set()
        quiet = 0
        for _ in range(_ROUNDS):
            found = await self._found(tenant_id)
            quiet = 0 if found else quiet + 1
            if quiet == _QUIET_ROUNDS:
                return
            left = [key for key in found if key not in deleted]
            for start in range(0, len(left), _AT_ONCE):
                part = left[start : start + _AT_ONCE]
                await asyncio.gather(*(self._delete(*key) for key in part))
                deleted |= set(part)
                yield len(deleted)
            await asyncio.sleep(_PAUSE_SECONDS)
        raise TemporalUnavailable("Temporal still lists workflows that it was told to delete")

    async def tenant_ids(self) -> AsyncIterator[str]:
        """Yield whose workflows there are; their ids are `{tenant}/{run}`."""
        seen: set[str] = set()
        async for workflow_id, _ in self._listed(""):
            tenant_id, slash, _ = workflow_id.partition("/")
            if slash and tenant_id not in seen:
                seen.add(tenant_id)
                yield tenant_id

    async def unproven(self, tenant_id: str) -> Sequence[str]:
        """Return what an empty list does not prove."""
        del tenant_id
        return (
            "Histories hold no bodies, by design, but ids, names of steps and times. Temporal "
            "deletes their rows; whether its database overwrites the space at once, and what its "
            "archives and backups keep, is up to that database.",
        )

    async def _found(self, tenant_id: str) -> list[tuple[str, str]]:
        return [key async for key in self._listed(f'WorkflowId STARTS_WITH "{tenant_id}/"')]

    async def _listed(self, query: str) -> AsyncIterator[tuple[str, str]]:
        try:
            async for found in self._client.list_workflows(
                query, page_size=_PAGE, rpc_timeout=_CALL
            ):
                yield found.id, found.run_id
        except RPCError as error:
            raise TemporalUnavailable(f"Temporal answered {error.status.name}") from error
        except RuntimeError as error:  # so the SDK says that a lazy client cannot connect
            raise TemporalUnavailable("Temporal cannot be reached") from error

    async def _delete(self, workflow_id: str, run_id: str) -> None:
        """Delete a workflow; one that runs is terminated by that.

        To terminate it first would make Temporal 1.32 take half a minute for each.
        """
        request = DeleteWorkflowExecutionRequest(
            namespace=self._client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
        )
        try:
            await self._client.workflow_service.delete_workflow_execution(request, timeout=_CALL)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise TemporalUnavailable(f"Temporal answered {error.status.name}") from error
