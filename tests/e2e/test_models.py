"""A run whose steps get no model is refused when it is created, in the llm-gateway's own words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from tests.support.public_api import (
    create_pipeline,
    create_prompt,
    create_run,
    create_tenant,
    finish,
    list_steps,
)

from nagaya.llm_gateway.v1 import catalog_service_pb2, model_pb2
from nagaya.runs.v1 import run_pb2, run_service_pb2
from nagaya_client.errors import ApiError

if TYPE_CHECKING:
    from nagaya_client.client import Client

STANDARD = {"modelClass": {"providerId": "claude", "modelClass": "standard"}}
STEPS = {
    "brainstorm": {},  # the catalogue has no default for it
    "outline": {"model": {"modelId": "no-such-model"}},
    "draft": {"model": STANDARD, "maxOutputTokens": 9_999_999},
    "polish": {},
}


async def test_steps_that_get_no_model_refuse_the_run_until_they_get_one(client: Client) -> None:
    tenant_id = await create_tenant(client, "models")
    for step in STEPS:
        await create_prompt(client, tenant_id, step, "Write.")
    spec = {"steps": [{"step": step, "llm": llm} for step, llm in STEPS.items()]}
    await create_pipeline(client, tenant_id, "faulty", spec)
    with pytest.raises(ApiError) as refusal:
        await create_run(client, tenant_id, "faulty", 1)

    assert refusal.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.value.reason == "ERROR_REASON_MODEL_UNUSABLE"
    assert {each.field.split('"')[1] for each in refusal.value.violations} == {
        "brainstorm",
        "outline",
        "draft",
    }
    listing = run_service_pb2.ListRunsRequest(tenant_id=tenant_id)
    assert list((await client.runs.ListRuns(listing)).runs) == []

    spec = {"steps": [{"step": "brainstorm", "llm": {}}]}
    await create_pipeline(client, tenant_id, "mended", spec)
    standard = model_pb2.ModelClass(provider_id="claude", model_class="standard")
    override = model_pb2.TenantStepOverride(step="brainstorm", model_class=standard)
    await client.catalog.SetTenantStepOverride(
        catalog_service_pb2.SetTenantStepOverrideRequest(tenant_id=tenant_id, override=override)
    )
    run_id = await create_run(client, tenant_id, "mended", 1)
    assert (await finish(client, tenant_id, run_id)).state == run_pb2.RUN_STATE_COMPLETED


async def test_a_model_that_a_run_chooses_goes_before_the_pipelines(client: Client) -> None:
    tenant_id = await create_tenant(client, "models")
    await create_prompt(client, tenant_id, "draft", "Write.")
    spec = {"steps": [{"step": "draft", "llm": {"model": STANDARD, "maxOutputTokens": 100}}]}
    await create_pipeline(client, tenant_id, "pinned", spec)
    request = run_service_pb2.CreateRunRequest(
        tenant_id=tenant_id, request_id="chosen", pipeline="pinned"
    )
    request.inline.number_value = 1
    request.step_models["draft"].model_id = "gpt-6.2-sol"
    chosen = (await client.runs.CreateRun(request)).run.run_id
    usual = await create_run(client, tenant_id, "pinned", 1)
    found = {}
    for run_id in (usual, chosen):
        run = await finish(client, tenant_id, run_id)
        assert run.state == run_pb2.RUN_STATE_COMPLETED, run.error
        (step,) = await list_steps(client, tenant_id, run_id)
        found[run_id] = (step.llm_model.partition("/")[0], step.model_rule)

    assert found == {usual: ("claude", "REQUEST"), chosen: ("openai", "RUN")}
