"""The workflows of tenants, by their ids `{tenant}/{run}`: removed with their histories."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runs.temporal.removal import CALL, delete_listed
from runs.temporal.schedules import translated_errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from temporalio.client import Client

_PAGE = 1000


class TenantWorkflows:
    """The workflows of tenants in one namespace of Temporal. Methods raise TemporalUnavailable."""

    method = "DeleteWorkflowExecution, which terminates those that run"

    def __init__(self, client: Client) -> None:
        self.name = f"workflows and their histories in Temporal's namespace {client.namespace}"
        self._client = client

    async def count(self, tenant_id: str) -> int:
        """Return how many workflows of a tenant are listed."""
        return len(await self._found(tenant_id))

    async def remove(self, tenant_id: str) -> AsyncIterator[int]:
        """Delete workflows until none is listed; yield how many it was asked to delete."""
        async for count in delete_listed(self._client, lambda: self._found(tenant_id)):
            yield count

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
        listed = self._client.list_workflows(query, page_size=_PAGE, rpc_timeout=CALL)
        while True:
            async with translated_errors():
                await listed.fetch_next_page()
            for found in listed.current_page or ():
                yield found.id, found.run_id
            if not listed.next_page_token:
                return
