"""What a team sees of its runs: texts as they come, failures by their elements, lists, a page."""

from __future__ import annotations

import asyncio
import json
import secrets
import uuid
from contextlib import aclosing
from typing import TYPE_CHECKING

from tests.e2e.shell import Shell
from tests.support.public_api import (
    create_pipeline,
    create_prompt,
    create_tenant,
    finish,
)

from nagaya.runs.v1 import run_pb2, run_service_pb2

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stack import LocalStack

    from nagaya_client.client import Client

MODEL = {"modelId": "claude-sonnet-5-5"}
TITLE = {"variable": "title", "element": {}}
SPEC = {
    "steps": [
        {
            "step": "write",
            "map": {"step": "input"},
            "llm": {"bindings": [TITLE], "model": MODEL, "maxOutputTokens": 200},
        }
    ]
}


async def start(client: Client, tenant_id: str, titles: list[str], batch: str) -> str:
    request = run_service_pb2.CreateRunRequest(
        tenant_id=tenant_id,
        request_id=uuid.uuid4().hex,
        pipeline="writing",
        labels={"batch": batch, "customer": "ada"},
    )
    request.inline.list_value.extend(titles)
    return (await client.runs.CreateRun(request)).run.run_id


async def writing_tenant(client: Client) -> str:
    tenant_id = await create_tenant(client, "seeing")
    await create_prompt(client, tenant_id, "write", "Write about {{title}}.")
    await create_pipeline(client, tenant_id, "writing", SPEC)
    return tenant_id


async def test_the_text_of_a_running_element_is_read_while_it_comes(
    stack: LocalStack, client: Client
) -> None:
    tenant_id = await writing_tenant(client)
    marks = [f"title-{secrets.token_hex(6)}" for _ in range(2)]
    rule = stack.stub.script(marks[1], {"kind": "hold", "after_chunks": 5})
    run_id = await start(client, tenant_id, marks, "b1")

    pieces: list[str] = []
    done = run_pb2.RunStep()
    async with (
        asyncio.timeout(60),
        aclosing(client.watch_step_text(tenant_id, run_id, "write", 2)) as parts,
    ):
        async for part in parts:
            if isinstance(part, run_pb2.RunStep):
                done = part
                continue
            if not pieces:  # the provider has more, and is held
                await stack.stub.wait_until_held(rule)
                asked = run_service_pb2.GetRunRequest(tenant_id=tenant_id, run_id=run_id)
                assert (await client.runs.GetRun(asked)).run.state == run_pb2.RUN_STATE_RUNNING
                stack.stub.release(rule)
            pieces.append(part.text)

    assert (done.step, done.item, done.state) == ("write", 2, run_pb2.STEP_STATE_COMPLETED)
    file = client.read(tenant_id, done.output.output_path)
    body = b"".join([chunk async for chunk in file.chunks()])
    assert json.loads(body) == "".join(pieces)
    assert (await finish(client, tenant_id, run_id)).state == run_pb2.RUN_STATE_COMPLETED


async def test_a_failed_element_is_found_by_labels_and_named_everywhere(
    stack: LocalStack, client: Client, tmp_path: Path
) -> None:
    tenant_id = await writing_tenant(client)
    mark = f"title-{secrets.token_hex(6)}"
    stack.stub.script(mark, {"kind": "status", "status": 400}, times=1)
    run_id = await start(client, tenant_id, ["one", "two", mark], "night")
    await start(client, tenant_id, ["four"], "day")
    failed = await finish(client, tenant_id, run_id)

    assert (failed.state, failed.error.step) == (run_pb2.RUN_STATE_FAILED, "write")
    assert failed.error.reason == "PROVIDER_REFUSED"
    assert "element 3" in failed.error.message
    shell = Shell(stack, tenant_id)
    filters = ("--label", "batch=night", "--label", "customer=ada", "--since", "1h")
    (found,) = shell.run("run", "list", *filters, "--state", "failed", "-o", "jsonl").lines
    assert (found["runId"], found["labels"]["batch"]) == (run_id, "night")
    elements = shell.run("run", "steps", run_id, "--failed", "-o", "jsonl").lines
    assert [piece["item"] for piece in elements if "item" in piece] == [3]
    timeline = shell.run("run", "timeline", run_id, "-o", "jsonl").lines
    assert {piece["step"].get("item", 0) for piece in timeline} == {0, 1, 2, 3}
    page = tmp_path / "run.html"
    assert shell.run("run", "export", run_id, "--html", str(page)).status == 0
    text = page.read_text()
    assert "element 3" in text
    assert "PROVIDER_REFUSED" in text
    assert text.count("/artifacts/1-1/output.json") == 1
