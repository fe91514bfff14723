"""The schedules of tenants in Temporal: removed with the histories of the workflows behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runs.domain.schedules import SCHEDULES
from runs.temporal.removal import CALL, delete_listed
from runs.temporal.schedules import translated_errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from temporalio.client import Client

_BEHIND = "temporal-sys-scheduler:"
"""What the id of the workflow behind a schedule begins with, before the schedule's."""

_DIVISION = 'TemporalNamespaceDivision = "TemporalScheduler"'


class TenantSchedules:
    """The schedules of tenants in one namespace of Temporal.

    A schedule is a workflow of Temporal's own, which ends when the schedule is deleted, and whose
    history stays for as long as any other's. Methods raise TemporalUnavailable.
    """

    method = "DeleteWorkflowExecution of the workflows behind them"

    def __init__(self, client: Client) -> None:
        self.name = f"schedules in Temporal's namespace {client.namespace}"
        self._client = client

    async def count(self, tenant_id: str) -> int:
        """Return how many schedules of a tenant are listed, deleted ones included."""
        return len(await self._found(tenant_id))

    async def remove(self, tenant_id: str) -> AsyncIterator[int]:
        """Delete the workflows behind schedules, and the schedules by that; yield how many.

        To delete a schedule first would end its workflow, and of one that has just ended Temporal
        1.32 deletes nothing for half a minute.
        """
        async for count in delete_listed(self._client, lambda: self._found(tenant_id)):
            yield count

    async def tenant_ids(self) -> AsyncIterator[str]:
        """Yield whose schedules there are."""
        listed = await self._listed("")
        schedules = (workflow_id.removeprefix(_BEHIND) for workflow_id, _ in listed)
        for tenant_id in sorted({schedule.partition(SCHEDULES)[0] for schedule in schedules}):
            yield tenant_id

    async def unproven(self, tenant_id: str) -> Sequence[str]:
        """Return what an empty list does not prove."""
        del tenant_id
        return ()

    async def _found(self, tenant_id: str) -> set[tuple[str, str]]:
        prefix = f"{_BEHIND}{tenant_id}{SCHEDULES}"
        return await self._listed(f' AND WorkflowId STARTS_WITH "{prefix}"')

    async def _listed(self, condition: str) -> set[tuple[str, str]]:
        """Return the ids of the workflows behind schedules, and of their executions."""
        async with translated_errors():
            listed = self._client.list_workflows(_DIVISION + condition, rpc_timeout=CALL)
            found = {(one.id, one.run_id) async for one in listed}
        return {key for key in found if SCHEDULES in key[0]}
