"""Runs whose input is a value inside a file, or a large one."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import TYPE_CHECKING

import pytest
from tests.support.public_api import create_pipeline, create_run, create_tenant, finish, list_steps

from nagaya.artifacts.v1 import artifact_pb2
from nagaya.runs.v1 import run_pb2, run_service_pb2
from nagaya_client.transfer import UploadTarget

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stack import LocalStack

    from nagaya_client.client import Client

EACH = {"step": "each", "function": {"function": "collect"}, "map": {"step": "input"}}
COLLECT = {"step": "collect", "needs": ["input"], "function": {"function": "collect"}}


async def test_an_input_is_a_value_inside_another_runs_output_or_the_run_fails(
    stack: LocalStack, client: Client
) -> None:
    tenant_id = await create_tenant(client, "inputs")
    await create_pipeline(client, tenant_id, "collect", {"steps": [COLLECT]})
    first = await create_run(client, tenant_id, "collect", {"chapters": ["one", "two"]})
    source = (await finish(client, tenant_id, first)).input

    async def run(json_pointer: str) -> run_pb2.Run:
        pointer = artifact_pb2.ArtifactPointer(
            path=source.output_path, digest=source.output_digest, json_pointer=json_pointer
        )
        request = run_service_pb2.CreateRunRequest(
            tenant_id=tenant_id, request_id=uuid.uuid4().hex, pipeline="collect", pointer=pointer
        )
        run_id = (await client.runs.CreateRun(request)).run.run_id
        async with asyncio.timeout(60):
            return await finish(client, tenant_id, run_id)

    found = await run("/chapters/1")
    (step,) = await list_steps(client, tenant_id, found.run_id)
    assert json.loads(stack.file(step.output.output_path).read_text()) == {"input": "two"}

    missing = await run("/chapters/2")
    assert missing.state == run_pb2.RUN_STATE_FAILED
    assert missing.error.reason == "POINTER_INVALID"
    assert await list_steps(client, tenant_id, missing.run_id) == []


@pytest.mark.parametrize(
    ("step", "reason"), [(EACH, "LIST_TOO_LARGE"), (COLLECT, "READ_TOO_LARGE")]
)
async def test_what_is_too_large_for_a_step_fails_the_run_in_words_for_its_owner(
    client: Client, tmp_path: Path, step: dict[str, object], reason: str
) -> None:
    tenant_id = await create_tenant(client, "inputs")
    await create_pipeline(client, tenant_id, "large", {"steps": [step]})
    request = run_service_pb2.CreateRunRequest(
        tenant_id=tenant_id, request_id=uuid.uuid4().hex, pipeline="large", hold=True
    )
    run_id = (await client.runs.CreateRun(request)).run.run_id
    source = tmp_path / "input.json"
    source.write_text(json.dumps(["x" * (3 << 20), "y"]))
    await client.upload(tenant_id, UploadTarget(run_id, "input"), source)
    await client.runs.StartRun(run_service_pb2.StartRunRequest(tenant_id=tenant_id, run_id=run_id))
    async with asyncio.timeout(30):
        run = await finish(client, tenant_id, run_id)

    assert (run.state, run.error.reason) == (run_pb2.RUN_STATE_FAILED, reason)
    assert run.error.message.startswith("the file takes more than 3,145,728 bytes")
    assert "CreateUpload" not in run.error.message
    assert [one.retry_count for one in await list_steps(client, tenant_id, run_id)] == [0]
