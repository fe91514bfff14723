"""The delivered example, each time with all of its steps at one provider that refuses what it does.

The stub refuses as the providers' SDKs and pages say that the providers do; see its README.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import pytest
from tests.e2e.article import PIPELINE, brief, load_article
from tests.support.public_api import create_run, create_tenant, finish

from nagaya.llm_gateway.v1 import (
    call_pb2,
    call_service_pb2,
    catalog_service_pb2,
    model_pb2,
)
from nagaya.runs.v1 import run_pb2

if TYPE_CHECKING:
    from tests.support.stack import LocalStack

    from nagaya_client.client import Client

STEPS = ("outline", "research", "draft", "review", "polish")


@pytest.mark.parametrize("model_class", ["pro", "standard"])
@pytest.mark.parametrize("provider_id", ["claude", "openai", "gemini"])
async def test_the_delivered_example_passes_a_strict_provider(
    stack: LocalStack, client: Client, provider_id: str, model_class: str
) -> None:
    tenant_id = await create_tenant(client, f"strict-{provider_id}")
    await load_article(client, tenant_id)
    chosen = model_pb2.ModelClass(provider_id=provider_id, model_class=model_class)
    for step in STEPS:
        override = model_pb2.TenantStepOverride(step=step, model_class=chosen)
        await client.catalog.SetTenantStepOverride(
            catalog_service_pb2.SetTenantStepOverrideRequest(tenant_id=tenant_id, override=override)
        )

    run_id = await create_run(client, tenant_id, PIPELINE, brief())
    run = await finish(client, tenant_id, run_id)

    assert run.state == run_pb2.RUN_STATE_COMPLETED, run.error
    request = call_service_pb2.ListCallsRequest(tenant_id=tenant_id, run_id=run_id, page_size=200)
    calls = (await client.calls.ListCalls(request)).calls
    assert {call.resolution.provider_id for call in calls} == {provider_id}
    attempts = [attempt for call in calls for attempt in call.attempts]
    assert len(attempts) == len(calls)  # nothing was refused, or asked for twice
    assert {attempt.state for attempt in attempts} == {call_pb2.CALL_STATE_SETTLED}
    assert not any(attempt.estimated for attempt in attempts)
    assert await outcomes(stack, run_id) == ["ok"] * len(calls)


async def outcomes(stack: LocalStack, run_id: str) -> list[str]:
    """Return what the stub says of the calls of a run."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{stack.endpoints.llmstub_url}/stub/calls") as answer,
    ):
        calls = (await answer.json())["calls"]
    return [call["outcome"] for call in calls if run_id in (call["idempotency"] or "")]
