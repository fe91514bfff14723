"""A JSON pointer means the same wherever one may stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.support.public_api import (
    create_pipeline,
    create_prompt,
    create_run,
    create_tenant,
    finish,
    list_steps,
)

from nagaya.artifacts.v1 import artifact_pb2, artifact_service_pb2
from nagaya.runs.v1 import run_pb2

if TYPE_CHECKING:
    from nagaya_client.client import Client

DOCUMENT = {"a/b": 1, "m~n": 2, "": 3, "01": 5, "list": [10, [20]], "-": {"1": 7}}
MODEL = {"modelClass": {"providerId": "claude", "modelClass": "standard"}}
SOURCE: dict[str, Any] = {
    "step": "s",
    "function": {"function": "constant", "arguments": {"value": DOCUMENT}},
}
FULL_WIDTH_ONE = "\uff11"


def ask(bindings: list[dict[str, Any]], **more: object) -> dict[str, Any]:
    return {"step": "ask", "needs": ["s"], "llm": {"bindings": bindings, "model": MODEL} | more}


def pipelines(pointer: str) -> dict[str, list[dict[str, Any]]]:
    """The places where a pipeline may have a pointer into the document."""
    bind: dict[str, Any] = {"variable": "x"}
    bound = {**bind, "output": {"step": "s", "jsonPointer": pointer}}
    replied = ask([{**bind, "text": "it"}], outputSchema={"const": DOCUMENT})
    mapped: dict[str, Any] = {"step": "m", "needs": ["s"], "function": {"function": "constant"}}
    return {
        "metric": [{**SOURCE, "metrics": {"v": pointer}}],
        "metric of a reply": [SOURCE, {**replied, "metrics": {"v": pointer}}],
        "binding": [SOURCE, ask([bound])],
        "map": [SOURCE, {**mapped, "map": {"step": "s", "jsonPointer": pointer}}],
    }


async def outcomes(client: Client, tenant_id: str, pointer: str) -> dict[str, str]:
    """Return the reasons by place, empty where a run completed; `batch` is artifacts' own word."""
    found: dict[str, str] = {}
    run_id = ""
    for place, steps in pipelines(pointer).items():
        await create_pipeline(client, tenant_id, "p", {"steps": steps})
        run_id = await create_run(client, tenant_id, "p", 1)
        run = await finish(client, tenant_id, run_id)
        failed = run.state == run_pb2.RUN_STATE_FAILED
        found[place] = run.error.reason if failed else ""
    (source, *_) = await list_steps(client, tenant_id, run_id)
    file = artifact_pb2.ArtifactPointer(
        path=source.output.output_path, digest=source.output.output_digest, json_pointer=pointer
    )
    request = artifact_service_pb2.BatchGetArtifactsRequest(tenant_id=tenant_id, pointers=[file])
    (result,) = (await client.artifacts.BatchGetArtifacts(request)).results
    return found | {"batch": result.status.message}


@pytest.fixture
async def tenant_id(client: Client) -> str:
    tenant_id = await create_tenant(client, "pointers")
    await create_prompt(client, tenant_id, "ask", "{{x}}")
    return tenant_id


@pytest.mark.parametrize(
    "pointer",
    ["/list/01", "/list/-", f"/list/{FULL_WIDTH_ONE}", "/list/+1", "/list/1_0",
     "/list/2"],
)  # fmt: skip
async def test_what_is_no_index_leads_nowhere_wherever_it_stands(
    client: Client, tenant_id: str, pointer: str
) -> None:
    found = await outcomes(client, tenant_id, pointer)

    assert "the file holds nothing there" in found.pop("batch")
    assert found == {
        "metric": "METRIC_NOT_A_NUMBER",
        "metric of a reply": "POINTER_INVALID",
        "binding": "INPUT_INVALID",
        "map": "POINTER_INVALID",
    }


@pytest.mark.parametrize("pointer", ["/a~1b", "/m~0n", "/", "/01", "/list/0", "/-/1"])
async def test_what_leads_to_a_value_leads_there_wherever_it_stands(
    client: Client, tenant_id: str, pointer: str
) -> None:
    found = await outcomes(client, tenant_id, pointer)

    assert found.pop("map") == "MAP_NOT_A_LIST"
    assert set(found.values()) == {""}
