"""Runs of a pipeline for invoices, and forks of them."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format
from tests.support.public_api import create_pipeline, create_prompt, create_tenant, finish

from nagaya.artifacts.v1 import artifact_service_pb2
from nagaya.runs.v1 import run_pb2, run_service_pb2
from nagaya_client.paging import pages

if TYPE_CHECKING:
    from tests.support.stack import LocalStack

    from nagaya_client.client import Client

MODEL = {"modelId": "claude-sonnet-5-5"}


def llm(step: str, *needs: str, binds: dict[str, dict[str, Any]], **more: object) -> dict[str, Any]:
    bindings = [{"variable": name, **value} for name, value in binds.items()]
    asks = {"model": MODEL, "maxOutputTokens": 30, "bindings": bindings}
    return {"step": step, "needs": list(needs), "llm": asks, **more}


EXTRACT = llm(
    "extract",
    binds={
        "invoice": {"element": {}},
        "language": {"output": {"step": "input", "jsonPointer": "/language"}},
    },
    map={"step": "input", "jsonPointer": "/invoices"},
)
CHECK = llm(
    "check",
    "extract",
    binds={"found": {"elementOutput": {"step": "extract"}}},
    map={"step": "input", "jsonPointer": "/invoices"},
)
COUNT = {
    "step": "count",
    "needs": ["check"],
    "function": {"function": "collect", "short": True},
}
REVIEW = llm("review", "count", binds={"all": {"output": {"step": "count"}}})
POLISH = llm("polish", "review", binds={"review": {"output": {"step": "review"}}})
STEPS = [EXTRACT, CHECK, COUNT, REVIEW, POLISH]
PROMPTS = {
    "extract": "Take the total out of {{invoice}}, in {{language}}.",
    "check": "Check {{found}}.",
    "review": "Review {{all}}.",
    "polish": "Polish {{review}}.",
}


def invoices(count: int, mark: str) -> dict[str, Any]:
    return {"language": "English", "invoices": [f"{mark} {number}" for number in range(count)]}


async def make_tenant(client: Client) -> str:
    tenant_id = await create_tenant(client, "forks")
    for step, content in PROMPTS.items():
        await create_prompt(client, tenant_id, step, content)
    await create_pipeline(client, tenant_id, "invoices", {"steps": STEPS})
    return tenant_id


async def fork(client: Client, tenant_id: str, run_id: str, **fields: object) -> run_pb2.Run:
    """Fork a run, and watch the fork to its end."""
    given = {"runId": run_id, "requestId": uuid.uuid4().hex, **fields}
    request = run_service_pb2.ForkRunRequest(tenant_id=tenant_id)
    run = (await client.runs.ForkRun(json_format.ParseDict(given, request))).run
    assert run.forked_from_run_id == run_id
    return await finish(client, tenant_id, run.run_id)


async def steps_of(
    client: Client, tenant_id: str, run_id: str
) -> dict[tuple[str, int], run_pb2.RunStep]:
    request = run_service_pb2.ListRunStepsRequest(tenant_id=tenant_id, run_id=run_id)
    return {
        (step.step, step.item): step
        async for page in pages(client.runs.ListRunSteps, request)
        for step in page.run_steps
    }


async def files_of(client: Client, tenant_id: str, run_id: str) -> dict[tuple[str, str], str]:
    """Return the digests of a run's files, by step and name."""
    request = artifact_service_pb2.ListArtifactsRequest(tenant_id=tenant_id, run_id=run_id)
    return {
        (file.step, file.name): file.digest
        async for page in pages(client.artifacts.ListArtifacts, request)
        for file in page.artifacts
    }


async def check_files(
    stack: LocalStack, client: Client, tenant_id: str, run: run_pb2.Run, source: run_pb2.Run
) -> None:
    """Every file of the source is in the fork, on the disk; manifests name the fork's own."""
    old, new = [await files_of(client, tenant_id, each.run_id) for each in (source, run)]
    assert old.keys() == new.keys()
    same = {key for key in old if key[0] in ("input", "extract", "check") and "/" in key[1]}
    assert {key: old[key] for key in same} == {key: new[key] for key in same}
    assert old["count", "output.json"] == new["count", "output.json"]
    for step in ("extract", "check"):
        manifest = stack.file(f"storage/{tenant_id}/{run.run_id}/{step}/output.json")
        paths = [item["path"] for item in json.loads(manifest.read_text())["items"]]
        assert all(f"/{run.run_id}/{step}/" in path for path in paths)
        assert all(stack.file(path).exists() for path in paths)
