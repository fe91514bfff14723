"""What a step does when it works, fails, is skipped, mapped or cancelled; judged by the outcome."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import uuid
from typing import TYPE_CHECKING

import pytest
from temporalio.client import Client as Temporal
from tests.support.public_api import (
    create_pipeline,
    create_prompt,
    create_run,
    create_tenant,
    finish,
    list_steps,
)

from nagaya.llm_gateway.v1 import call_pb2
from nagaya.runs.v1 import run_pb2, run_service_pb2
from nagaya_client.transfer import UploadTarget
from runs.auditor import examine
from runs.temporal.client import data_converter

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stack import LocalStack

    from nagaya_client.client import Client


@pytest.fixture
async def tenant_id(client: Client) -> str:
    return await create_tenant(client, "steps")


def function(step: str, name: str, *needs: str, **more: object) -> dict[str, object]:
    arguments = more.pop("arguments", {})
    short = more.pop("short", False)
    kind = {"function": name, "arguments": arguments, "short": short}
    return {"step": step, "needs": list(needs), "function": kind, **more}


async def create_pipeline_that_writes(client: Client, tenant_id: str, **llm: object) -> None:
    """Create a pipeline whose one step asks a model what the run's input says."""
    await create_prompt(client, tenant_id, "write", "{{marker}}")
    bind = {"variable": "marker", "output": {"step": "input", "jsonPointer": ""}}
    # A default for this step is not in the catalogue: the pipeline names its model.
    model = {"modelClass": {"providerId": "claude", "modelClass": "standard"}}
    step = {"step": "write", "needs": ["input"], "llm": {"bindings": [bind], "model": model, **llm}}
    await create_pipeline(client, tenant_id, "test", {"steps": [step]})


async def run_steps(
    client: Client, tenant_id: str, *steps: dict[str, object], value: object = None
) -> tuple[run_pb2.Run, dict[tuple[str, int], run_pb2.RunStep]]:
    """Run a pipeline of these steps to its end; return the run, and its pieces of work."""
    await create_pipeline(client, tenant_id, "test", {"steps": list(steps)})
    run_id = await create_run(client, tenant_id, "test", value)
    run = await finish(client, tenant_id, run_id)
    return run, {(s.step, s.item): s for s in await list_steps(client, tenant_id, run_id)}


@pytest.mark.parametrize("short", [False, True])
async def test_the_text_of_an_error_that_is_not_ours_is_in_a_file_and_nowhere_else(
    stack: LocalStack, client: Client, tenant_id: str, *, short: bool
) -> None:
    canary = f"canary-{secrets.token_hex(8)}"
    step = function("bad", "test.explode", arguments={"secret": canary}, short=short)
    run, steps = await run_steps(client, tenant_id, step | {"retry": {"maxAttempts": 1}})

    assert run.state == run_pb2.RUN_STATE_FAILED
    assert (run.error.step, run.error.reason) == ("bad", "INTERNAL")
    assert run.error.message.startswith("internal error ")
    assert steps["bad", 0].state == run_pb2.STEP_STATE_FAILED
    error = json.loads(stack.file(run.error.error_path).read_text())
    assert error["type"] == "ValueError"
    assert canary in error["message"]
    temporal = await Temporal.connect(stack.endpoints.temporal, data_converter=data_converter())
    handle = temporal.get_workflow_handle(f"{tenant_id}/{run.run_id}")
    assert list(examine(await handle.fetch_history(), [canary])) == []
    logs = (stack.layout.data / "logs").glob("*.log")
    assert [log.name for log in logs if canary.encode() in log.read_bytes()] == []


async def test_a_step_is_tried_again_while_attempts_are_left(
    client: Client, tenant_id: str
) -> None:
    step = function("flaky", "test.flaky", arguments={"failures": 2})
    retry = {"maxAttempts": 3, "backoff": "0.05s"}
    run, steps = await run_steps(client, tenant_id, step | {"retry": retry})

    assert run.state == run_pb2.RUN_STATE_COMPLETED
    assert steps["flaky", 0].retry_count == 2


async def test_a_step_whose_attempts_are_used_up_fails_the_run(
    client: Client, tenant_id: str
) -> None:
    step = function("flaky", "test.flaky", arguments={"failures": 2})
    retry = {"maxAttempts": 2, "backoff": "0.05s"}
    run, steps = await run_steps(
        client, tenant_id, step | {"retry": retry}, function("after", "constant", "flaky")
    )

    assert run.state == run_pb2.RUN_STATE_FAILED
    assert steps["flaky", 0].state == run_pb2.STEP_STATE_FAILED
    assert ("after", 0) not in steps


async def test_a_step_whose_condition_is_false_is_skipped_and_counts_as_done(
    client: Client, tenant_id: str
) -> None:
    score = function("review", "constant", arguments={"value": {"score": 9}})
    run, steps = await run_steps(
        client,
        tenant_id,
        score | {"metrics": {"score": "/score"}},
        function("mend", "constant", "review", when="review.score < 8"),
        function("praise", "constant", "review", when="review.score >= 8"),
        function("last", "constant", "mend", "praise"),
    )

    assert run.state == run_pb2.RUN_STATE_COMPLETED
    assert steps["mend", 0].state == run_pb2.STEP_STATE_SKIPPED
    assert steps["praise", 0].state == run_pb2.STEP_STATE_COMPLETED
    assert steps["last", 0].state == run_pb2.STEP_STATE_COMPLETED


@pytest.mark.parametrize("count", [0, 3, 120])
async def test_a_mapped_step_is_done_for_each_element_of_its_list(
    stack: LocalStack, client: Client, tenant_id: str, count: int
) -> None:
    run, steps = await run_steps(
        client,
        tenant_id,
        function("numbers", "test.numbers", arguments={"count": count}, short=True),
        function("double", "test.double", "numbers", map={"step": "numbers"}, short=True),
    )

    assert run.state == run_pb2.RUN_STATE_COMPLETED, run.error
    manifest = json.loads(stack.file(steps["double", 0].output.output_path).read_text())
    outputs = [json.loads(stack.file(item["path"]).read_text()) for item in manifest["items"]]
    assert outputs == [2 * number for number in range(count)]


@pytest.mark.parametrize(
    ("value", "pointer", "reason"),
    [("no list", "", "MAP_NOT_A_LIST"), (None, "", "MAP_NOT_A_LIST"), ({}, "", "MAP_NOT_A_LIST"),
     ({"a": 5}, "/a", "MAP_NOT_A_LIST"), ({"a": 5}, "/gone", "POINTER_INVALID")],
)  # fmt: skip
async def test_a_map_over_what_is_no_list_fails_the_run(
    client: Client, tenant_id: str, value: object, pointer: str, reason: str
) -> None:
    run, _ = await run_steps(
        client,
        tenant_id,
        function("word", "constant", arguments={"value": value}),
        function("each", "test.double", "word", map={"step": "word", "json_pointer": pointer}),
    )

    assert (run.error.step, run.error.reason) == ("each", reason)


async def test_a_cancelled_run_stops_its_steps(client: Client, tenant_id: str) -> None:
    await create_pipeline(client, tenant_id, "test", {"steps": [function("wait", "test.endless")]})
    run_id = await create_run(client, tenant_id, "test", None)
    async for event in client.watch_run(tenant_id, run_id):
        if event.step.step == "wait":
            break
    request = run_service_pb2.CancelRunRequest(tenant_id=tenant_id, run_id=run_id)
    await client.runs.CancelRun(request)
    async with asyncio.timeout(60):
        run = await finish(client, tenant_id, run_id)

    assert run.state == run_pb2.RUN_STATE_CANCELLED
    (step,) = await list_steps(client, tenant_id, run_id)
    assert step.state == run_pb2.STEP_STATE_CANCELLED


async def test_a_held_run_begins_once_its_input_is_uploaded_and_it_is_started(
    stack: LocalStack, client: Client, tenant_id: str, tmp_path: Path
) -> None:
    spec = {"steps": [function("collect", "collect", "input")]}
    await create_pipeline(client, tenant_id, "test", spec)
    created = await client.runs.CreateRun(
        run_service_pb2.CreateRunRequest(
            tenant_id=tenant_id, request_id=uuid.uuid4().hex, pipeline="test", hold=True
        )
    )
    run_id = created.run.run_id
    source = tmp_path / "input.json"
    source.write_text(json.dumps({"text": "x" * 2_000_000}))
    await client.upload(tenant_id, UploadTarget(run_id, "input", "output.json"), source)
    request = run_service_pb2.StartRunRequest(tenant_id=tenant_id, run_id=run_id)
    await client.runs.StartRun(request)
    run = await finish(client, tenant_id, run_id)

    assert run.state == run_pb2.RUN_STATE_COMPLETED
    committed = stack.file(run.input.output_path).read_bytes()
    assert committed == source.read_bytes()
    assert run.input.output_digest == hashlib.sha256(committed).hexdigest()


async def test_a_step_whose_reply_was_cut_off_is_not_tried_and_paid_again(
    stack: LocalStack, client: Client, tenant_id: str
) -> None:
    await create_pipeline_that_writes(client, tenant_id, outputSchema={"type": "object"})
    marker = f"cut-{secrets.token_hex(8)}"
    cut = {"kind": "reply", "text": '{"title": "Cra', "finish": "length"}
    stack.stub.script(marker, cut, times=1)
    run_id = await create_run(client, tenant_id, "test", marker)
    run = await finish(client, tenant_id, run_id)

    assert run.state == run_pb2.RUN_STATE_FAILED
    assert (run.error.step, run.error.reason) == ("write", "REPLY_CUT")
    assert "cut off after" in run.error.message
    assert "Raise max_output_tokens" in run.error.message
    (written,) = await list_steps(client, tenant_id, run_id)
    assert written.retry_count == 0
    assert written.cost_micro_usd > 0
    assert stack.requests_of(run_id) == 1


async def test_a_step_whose_reply_was_refused_is_not_tried_and_paid_again(
    stack: LocalStack, client: Client, tenant_id: str
) -> None:
    await create_pipeline_that_writes(client, tenant_id, outputSchema={"type": "object"})
    marker = f"refused-{secrets.token_hex(8)}"
    declined = {"kind": "reply", "text": "I would rather not.", "finish": "filtered"}
    stack.stub.script(marker, declined, times=1)
    run_id = await create_run(client, tenant_id, "test", marker)
    run = await finish(client, tenant_id, run_id)

    assert run.state == run_pb2.RUN_STATE_FAILED
    assert (run.error.step, run.error.reason) == ("write", "REPLY_REFUSED")
    assert "declined" in run.error.message
    assert "Take a model of another provider" in run.error.message
    (written,) = await list_steps(client, tenant_id, run_id)
    assert written.retry_count == 0
    assert written.cost_micro_usd > 0
    assert stack.requests_of(run_id) == 1


@pytest.mark.parametrize(("ending", "reason"), [("length", "CUT"), ("filtered", "REFUSED")])
async def test_half_a_text_is_no_output(
    stack: LocalStack, client: Client, tenant_id: str, ending: str, reason: str
) -> None:
    await create_pipeline_that_writes(client, tenant_id)
    marker = f"half-{secrets.token_hex(8)}"
    stack.stub.script(marker, {"kind": "reply", "text": "Once upon a", "finish": ending}, times=1)
    run_id = await create_run(client, tenant_id, "test", marker)
    run = await finish(client, tenant_id, run_id)

    assert (run.state, run.error.reason) == (run_pb2.RUN_STATE_FAILED, f"REPLY_{reason}")
    (written,) = await list_steps(client, tenant_id, run_id)
    assert (written.retry_count, written.output.output_path) == (0, "")
    assert written.cost_micro_usd > 0
    assert stack.requests_of(run_id) == 1
    assert f"`nagaya call reply {run_id} write` shows what there is of it" in run.error.message
    key = call_pb2.CallKey(run_id=run_id, step="write", visit=1, call=1)
    assert json.loads(await client.reply(tenant_id, key))["content"] == "Once upon a"


async def test_a_history_does_not_grow_with_the_bodies(
    stack: LocalStack, client: Client, tenant_id: str
) -> None:
    await create_pipeline_that_writes(client, tenant_id)
    temporal = await Temporal.connect(stack.endpoints.temporal, data_converter=data_converter())
    sizes: list[int] = []
    for size in (1_000, 2_000_000):
        marker = f"size-{secrets.token_hex(8)}"
        stack.stub.script(marker, {"kind": "oversize", "bytes": size}, times=1)
        run_id = await create_run(client, tenant_id, "test", marker)
        run = await finish(client, tenant_id, run_id)
        assert run.state == run_pb2.RUN_STATE_COMPLETED, run.error
        (written,) = await list_steps(client, tenant_id, run_id)
        assert stack.file(written.output.output_path).stat().st_size >= size
        handle = temporal.get_workflow_handle(f"{tenant_id}/{run_id}")
        await handle.result()  # the run is over a moment before its workflow
        history = await handle.fetch_history()
        sizes.append(sum(event.ByteSize() for event in history.events))

    # With another activity, where the step takes more than a few seconds.
    assert max(sizes) < 4_096 + 1_024
