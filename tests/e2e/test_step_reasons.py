"""Why a step failed is said by the reason that the README of runs promises for it."""

from __future__ import annotations

import asyncio
import uuid
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

from nagaya.runs.v1 import run_pb2, run_service_pb2
from nagaya_client.transfer import UploadTarget

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stack import LocalStack

    from nagaya_client.client import Client

STANDARD = {"modelClass": {"providerId": "claude", "modelClass": "standard"}}


@pytest.fixture
async def tenant_id(client: Client) -> str:
    return await create_tenant(client, "reasons")


def constant(step: str, value: object, *needs: str, **more: object) -> dict[str, object]:
    kind = {"function": "constant", "arguments": {"value": value}, "short": True}
    return {"step": step, "needs": list(needs), "function": kind, **more}


def ask(
    *needs: str, output: str = "input", schema: object = None, **more: object
) -> dict[str, object]:
    bind = {"variable": "what", "output": {"step": output}}
    llm: dict[str, object] = {"bindings": [bind], "model": STANDARD}
    if schema is not None:
        llm["outputSchema"] = schema
    return {"step": "ask", "needs": list(needs), "llm": llm} | more


async def failed(client: Client, tenant_id: str, run_id: str) -> run_pb2.RunStep:
    """Return the one step that failed its run."""
    async with asyncio.timeout(60):
        run = await finish(client, tenant_id, run_id)
    assert run.state == run_pb2.RUN_STATE_FAILED
    steps = await list_steps(client, tenant_id, run_id)
    (step,) = [each for each in steps if each.state == run_pb2.STEP_STATE_FAILED]
    assert (run.error.reason, run.error.step) == (step.error.reason, step.step)
    return step


@pytest.mark.parametrize("score", ["7", True, None, [7]], ids=["text", "true", "null", "list"])
async def test_a_metric_that_is_no_number_fails_its_step(
    client: Client, tenant_id: str, score: object
) -> None:
    review = constant("review", {"score": score}, metrics={"score": "/score"})
    await create_pipeline(client, tenant_id, "p", {"steps": [review]})

    step = await failed(client, tenant_id, await create_run(client, tenant_id, "p", 1))

    assert (step.error.reason, step.retry_count) == ("METRIC_NOT_A_NUMBER", 0)


@pytest.mark.parametrize("condition", ["review.gone > 1", "1 / (review.score - 7) > 1"])
async def test_a_condition_that_cannot_be_evaluated_fails_its_step(
    client: Client, tenant_id: str, condition: str
) -> None:
    review = constant("review", {"score": 7}, metrics={"score": "/score"})
    again = constant("again", 1, "review", when=condition)
    await create_pipeline(client, tenant_id, "p", {"steps": [review, again]})

    step = await failed(client, tenant_id, await create_run(client, tenant_id, "p", 1))

    assert (step.step, step.error.reason, step.retry_count) == ("again", "CONDITION_FAILED", 0)


@pytest.mark.parametrize("content", [b"", b'{"a": NaN}', b"\xff", b"{"])
async def test_a_file_that_holds_no_json_fails_the_step_that_reads_it(
    client: Client, tenant_id: str, tmp_path: Path, content: bytes
) -> None:
    collect = {"step": "collect", "needs": ["input"], "function": {"function": "collect"}}
    await create_pipeline(client, tenant_id, "p", {"steps": [collect]})
    request = run_service_pb2.CreateRunRequest(
        tenant_id=tenant_id, request_id=uuid.uuid4().hex, pipeline="p", hold=True
    )
    run_id = (await client.runs.CreateRun(request)).run.run_id
    source = tmp_path / "input.json"
    source.write_bytes(content)
    await client.upload(tenant_id, UploadTarget(run_id, "input"), source)
    await client.runs.StartRun(run_service_pb2.StartRunRequest(tenant_id=tenant_id, run_id=run_id))

    step = await failed(client, tenant_id, run_id)

    assert (step.error.reason, step.retry_count) == ("NOT_JSON", 0)


async def test_a_binding_to_a_skipped_step_fails_the_step(client: Client, tenant_id: str) -> None:
    await create_prompt(client, tenant_id, "ask", "{{what}}")
    skipped = constant("skipped", 1, when="input.bytes < 0")
    steps = [skipped, ask("skipped", output="skipped")]
    await create_pipeline(client, tenant_id, "p", {"steps": steps})

    step = await failed(client, tenant_id, await create_run(client, tenant_id, "p", 1))

    assert (step.error.reason, step.retry_count) == ("OUTPUT_MISSING", 0)


async def test_a_binding_to_too_many_outputs_fails_the_step(client: Client, tenant_id: str) -> None:
    await create_prompt(client, tenant_id, "ask", "{{what}} " * 20)
    each = constant("each", 1, map={"step": "input"})
    await create_pipeline(client, tenant_id, "p", {"steps": [each, ask("each", output="each")]})

    run_id = await create_run(client, tenant_id, "p", [0] * 150)
    async with asyncio.timeout(60):
        run = await finish(client, tenant_id, run_id)

    assert (run.error.step, run.error.reason) == ("ask", "PROMPT_TOO_MANY_PIECES")


@pytest.mark.parametrize(
    ("action", "longest", "reason"),
    [
        ({"kind": "hang"}, "1s", "STEP_TIMEOUT"),
        ({"kind": "reply", "text": " "}, "60s", "REPLY_EMPTY"),
    ],
)
async def test_a_model_that_is_late_or_says_nothing_fails_the_step(
    client: Client,
    stack: LocalStack,
    tenant_id: str,
    action: dict[str, Any],
    longest: str,
    reason: str,
) -> None:
    await create_prompt(client, tenant_id, "ask", "{{what}}")
    step = ask(timeout=longest, retry={"maxAttempts": 1})
    await create_pipeline(client, tenant_id, "p", {"steps": [step]})
    marker = uuid.uuid4().hex
    stack.stub.script(marker, action, times=1)

    step = await failed(client, tenant_id, await create_run(client, tenant_id, "p", marker))

    assert (step.error.reason, step.retry_count) == (reason, 0)


@pytest.mark.parametrize("text", ['{"n": 1e400}', r'{"n": "\ud83d"}', '{"n": NaN}'])
async def test_a_structured_reply_that_programs_cannot_read_is_no_json(
    client: Client, stack: LocalStack, tenant_id: str, text: str
) -> None:
    await create_prompt(client, tenant_id, "ask", "{{what}}")
    step = ask(retry={"maxAttempts": 1}, schema={"type": "object"})
    await create_pipeline(client, tenant_id, "p", {"steps": [step]})
    marker = uuid.uuid4().hex
    stack.stub.script(marker, {"kind": "reply", "text": text}, times=1)

    step = await failed(client, tenant_id, await create_run(client, tenant_id, "p", marker))

    assert "the reply is no JSON" in step.error.message
