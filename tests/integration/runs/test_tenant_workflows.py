"""The workflows of a tenant are removed from Temporal with their histories, and no others."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryRequest
from temporalio.service import RPCError, RPCStatusCode
from tests.integration.runs.conftest import NOWHERE
from tests.support.waiting import wait_until

from runs.errors import TemporalUnavailable
from runs.temporal.client import connect
from runs.temporal.workflows_of_tenants import TenantWorkflows
from runs.temporal_config import TemporalConfig

if TYPE_CHECKING:
    from temporalio.client import Client

    from nagaya_local.parts.temporal import TemporalServer

QUEUE = "nobody-works-here"


@pytest.fixture
async def client(temporal: TemporalServer) -> Client:
    return await connect(TemporalConfig(temporal.address, "default", QUEUE), lazy=False)


async def start(client: Client, tenant_id: str, count: int) -> list[str]:
    ids = [f"{tenant_id}/{secrets.token_hex(8)}" for _ in range(count)]
    for workflow_id in ids:
        await client.start_workflow("PipelineRun", "x", id=workflow_id, task_queue=QUEUE)
    return ids


async def has_history(client: Client, workflow_id: str) -> bool:
    request = GetWorkflowExecutionHistoryRequest(
        namespace="default", execution=WorkflowExecution(workflow_id=workflow_id)
    )
    try:
        await client.workflow_service.get_workflow_execution_history(request)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return False
    return True


async def test_all_workflows_of_a_tenant_are_removed_and_no_others(client: Client) -> None:
    tenant_id = f"t{secrets.token_hex(6)}"
    ids, others = await start(client, tenant_id, 20), await start(client, f"{tenant_id}-2", 2)
    await client.get_workflow_handle(ids[1]).cancel()
    workflows = TenantWorkflows(client)

    async def all_listed() -> bool:
        counts = [await workflows.count(one) for one in (tenant_id, f"{tenant_id}-2")]
        return counts == [len(ids), len(others)]

    await wait_until(all_listed)
    removed = [count async for count in workflows.remove(tenant_id)]

    assert removed[-1] == len(ids)
    assert await workflows.count(tenant_id) == 0
    assert [one for one in ids if await has_history(client, one)] == []
    assert [one for one in others if await has_history(client, one)] == others
    assert tenant_id not in [found async for found in workflows.tenant_ids()]
    assert f"{tenant_id}-2" in [found async for found in workflows.tenant_ids()]
    assert [count async for count in workflows.remove(tenant_id)] == []


async def test_a_workflow_that_is_not_listed_yet_is_removed_too(client: Client) -> None:
    tenant_id = f"t{secrets.token_hex(6)}"
    ids = await start(client, tenant_id, 5)

    removed = [count async for count in TenantWorkflows(client).remove(tenant_id)]

    assert removed[-1] == len(ids)
    assert [one for one in ids if await has_history(client, one)] == []


async def test_without_temporal_it_is_unavailable() -> None:
    workflows = TenantWorkflows(await connect(TemporalConfig(NOWHERE, "default", QUEUE)))

    with pytest.raises(TemporalUnavailable):
        await workflows.count("acme")
