"""What a step does about a prompt that asks nothing, and about a reply that it cannot use."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest
from tests.support.public_api import (
    create_pipeline,
    create_prompt,
    create_run,
    create_tenant,
    finish,
)

from nagaya.llm_gateway.v1 import call_service_pb2

if TYPE_CHECKING:
    from tests.support.stack import LocalStack

    from nagaya_client.client import Client


@pytest.fixture
async def tenant_id(client: Client) -> str:
    return await create_tenant(client, "prompts")


async def create_pipeline_that_writes(
    client: Client, tenant_id: str, retry: dict[str, object], **llm: object
) -> None:
    """Create a pipeline whose one step asks a model what the run's input says."""
    await create_prompt(client, tenant_id, "write", "{{marker}}")
    bind = {"variable": "marker", "output": {"step": "input", "jsonPointer": ""}}
    model = {"modelClass": {"providerId": "claude", "modelClass": "standard"}}
    asked = {"bindings": [bind], "model": model, **llm}
    step = {"step": "write", "needs": ["input"], "llm": asked, "retry": retry}
    await create_pipeline(client, tenant_id, "test", {"steps": [step]})


@pytest.mark.parametrize("marker", ["", " \n", None, []], ids=repr)
async def test_a_prompt_that_says_nothing_is_refused_with_its_variable_and_nobody_is_asked(
    client: Client, tenant_id: str, marker: object
) -> None:
    await create_pipeline_that_writes(client, tenant_id, {})
    run_id = await create_run(client, tenant_id, "test", marker)
    run = await finish(client, tenant_id, run_id)

    assert (run.error.step, run.error.reason) == ("write", "PROMPT_BLANK")
    assert "marker" in run.error.message
    request = call_service_pb2.ListCallsRequest(tenant_id=tenant_id, run_id=run_id)
    assert not (await client.calls.ListCalls(request)).calls


async def test_a_reply_that_does_not_fit_is_paid_once_however_many_attempts_a_step_has(
    stack: LocalStack, client: Client, tenant_id: str
) -> None:
    marker = f"marker-{secrets.token_hex(8)}"
    stack.stub.script(marker, {"kind": "reply", "text": '{"title": 7}'}, times=1)
    schema = {"type": "object", "properties": {"title": {"type": "string"}}}
    retry: dict[str, object] = {"maxAttempts": 3, "backoff": "0.1s"}
    await create_pipeline_that_writes(client, tenant_id, retry, outputSchema=schema)

    run_id = await create_run(client, tenant_id, "test", marker)
    run = await finish(client, tenant_id, run_id)

    assert (run.error.step, run.error.reason) == ("write", "REPLY_INVALID")
    request = call_service_pb2.ListCallsRequest(tenant_id=tenant_id, run_id=run_id)
    (call,) = (await client.calls.ListCalls(request)).calls
    assert len(call.attempts) == 1
    assert run.totals.cost_micro_usd == call.cost_micro_usd > 0
