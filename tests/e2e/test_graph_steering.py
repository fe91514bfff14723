"""Runs of graphs that are paused, resumed and retried, and the texts of their nodes."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from tests.e2e.test_graphs import PROMPTS, research
from tests.e2e.test_steering import retry
from tests.support.public_api import (
    create_pipeline,
    create_prompt,
    create_run,
    create_tenant,
    finish,
    list_steps,
)

from nagaya.runs.v1 import run_pb2, run_service_pb2
from nagaya_client.errors import ApiError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stack import LocalStack

    from nagaya_client.client import Client

RUNNING, COMPLETED = run_pb2.STEP_STATE_RUNNING, run_pb2.RUN_STATE_COMPLETED
DONE, FAILED = run_pb2.STEP_STATE_COMPLETED, run_pb2.STEP_STATE_FAILED


@pytest.fixture
async def tenant_id(client: Client) -> str:
    tenant_id = await create_tenant(client, "steered-graphs")
    for step, content in PROMPTS.items():
        await create_prompt(client, tenant_id, step, content)
    return tenant_id


def began(log: Path) -> Counter[tuple[str, int, int]]:
    """Return how often each node has begun, by node, item and visit."""
    lines = map(json.loads, log.read_text().splitlines())
    return Counter(
        (line["step"], line["item"], line["visit"]) for line in lines if line["word"] == "began"
    )


async def reached(client: Client, tenant_id: str, run_id: str, state: int, step: str = "") -> None:
    """Watch a run until it, or one of its nodes, has a state."""
    async for event in client.watch_run(tenant_id, run_id):
        if step and event.step.step == step and event.step.state == state:
            return
        if not step and event.run.state == state:
            return
    raise AssertionError("the run has ended before")


async def test_a_paused_graph_begins_no_node_and_goes_on_with_what_is_left(
    stack: LocalStack, client: Client, tenant_id: str, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    await create_pipeline(client, tenant_id, "research", research(log, rounds=3, seconds=1.0))
    run_id = await create_run(client, tenant_id, "research", {"topic": "cranes"})
    await reached(client, tenant_id, run_id, RUNNING, "tool")
    named = {"tenant_id": tenant_id, "run_id": run_id}
    await client.runs.PauseRun(run_service_pb2.PauseRunRequest(**named))
    await reached(client, tenant_id, run_id, run_pb2.RUN_STATE_PAUSED)

    steps = await list_steps(client, tenant_id, run_id)
    before, paid = began(log), stack.requests_of(run_id)
    await asyncio.sleep(2.0)  # long enough for another node
    assert (began(log), stack.requests_of(run_id)) == (before, paid)
    assert {step.state for step in steps} == {run_pb2.STEP_STATE_COMPLETED}
    assert ("tool", 3, 3) not in before
    await client.runs.ResumeRun(run_service_pb2.ResumeRunRequest(**named))
    run = await finish(client, tenant_id, run_id)

    assert run.state == COMPLETED, run.error
    assert set(began(log).values()) == {1}
    assert stack.requests_of(run_id) == 2 + 3
    text = stack.file(f"storage/{tenant_id}/{run_id}/write/artifacts/0-1/text.json")
    assert [found["number"] for found in json.loads(text.read_text())[1]] == [1, 2, 3] * 3


async def test_a_graph_whose_node_has_failed_goes_on_there_when_it_is_retried(
    client: Client, tenant_id: str, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    spec = {"graph": {"graph": "test.mending", "arguments": {"log": str(log)}}}
    await create_pipeline(client, tenant_id, "mending", spec)
    run_id = await create_run(client, tenant_id, "mending", None)
    failed = await finish(client, tenant_id, run_id)
    assert (failed.state, failed.error.reason) == (run_pb2.RUN_STATE_FAILED, "NOT_MENDED")
    assert failed.error.step == "mended"

    (tmp_path / "log.mended").touch()
    await retry(client, tenant_id, run_id)
    run = await finish(client, tenant_id, run_id)

    assert run.state == COMPLETED, run.error
    assert began(log) == {("first", 0, 1): 1, ("mended", 0, 1): 2}
    states = {step.step: step.state for step in await list_steps(client, tenant_id, run_id)}
    assert states == dict.fromkeys(("first", "mended"), run_pb2.STEP_STATE_COMPLETED)


async def test_what_sends_have_started_is_done_although_some_of_it_fails(
    client: Client, tenant_id: str, tmp_path: Path
) -> None:
    log, refused = tmp_path / "log", tmp_path / "log.refused"
    refused.write_text("[30, 60, 90]")
    run_id = await _spread(client, tenant_id, log, seconds=0.1)
    failed = await finish(client, tenant_id, run_id)
    assert (failed.state, failed.error.reason) == (run_pb2.RUN_STATE_FAILED, "NOT_NOW")
    assert await _ended(client, tenant_id, run_id) == {FAILED: 3, DONE: 98}

    refused.write_text("[60, 90]")
    await retry(client, tenant_id, run_id, step="tool", item=30)
    assert (await finish(client, tenant_id, run_id)).state == run_pb2.RUN_STATE_FAILED
    assert await _ended(client, tenant_id, run_id) == {FAILED: 2, DONE: 99}
    refused.write_text("[]")
    await retry(client, tenant_id, run_id)
    assert (await finish(client, tenant_id, run_id)).state == COMPLETED
    assert await _ended(client, tenant_id, run_id) == {DONE: 101}
    times = Counter({("tool", item, 1): 1 + (item in (30, 60, 90)) for item in range(1, 101)})
    assert began(log) == times | Counter({("first", 0, 1): 1})


async def test_what_many_failures_have_interrupted_is_cancelled_and_done_by_a_retry(
    client: Client, tenant_id: str, tmp_path: Path
) -> None:
    log, refused = tmp_path / "log", tmp_path / "log.refused"
    refused.write_text(json.dumps([*range(1, 22)]))
    run_id = await _spread(client, tenant_id, log, seconds=600.0)
    assert (await finish(client, tenant_id, run_id)).state == run_pb2.RUN_STATE_FAILED
    for step in await list_steps(client, tenant_id, run_id):
        assert (step.state == FAILED) == (step.error.reason == "NOT_NOW"), step
    assert (await _ended(client, tenant_id, run_id))[run_pb2.STEP_STATE_CANCELLED]

    refused.write_text("[]")
    await retry(client, tenant_id, run_id)
    assert (await finish(client, tenant_id, run_id)).state == COMPLETED
    assert await _ended(client, tenant_id, run_id) == {DONE: 101}


async def _spread(client: Client, tenant_id: str, log: Path, seconds: float) -> str:
    """Start a run whose graph sends to a hundred nodes at once."""
    arguments = {"log": str(log), "tools": 100, "seconds": seconds}
    spec = {"graph": {"graph": "test.spreading", "arguments": arguments}}
    await create_pipeline(client, tenant_id, "spreading", spec)
    return await create_run(client, tenant_id, "spreading", None)


async def _ended(client: Client, tenant_id: str, run_id: str) -> Counter[int]:
    """Return how many nodes are in which state."""
    return Counter(step.state for step in await list_steps(client, tenant_id, run_id))


async def test_the_text_of_a_nodes_call_is_watched_by_its_visit(
    client: Client, tenant_id: str, tmp_path: Path
) -> None:
    await create_pipeline(client, tenant_id, "research", research(tmp_path / "log"))
    run_id = await create_run(client, tenant_id, "research", {"topic": "cranes"})
    texts = [await _watched(client, tenant_id, run_id, visit) for visit in (1, 2)]
    run = await finish(client, tenant_id, run_id)

    assert run.state == COMPLETED, run.error
    assert [step.visit for _, step in texts] == [1, 2]
    assert {step.state for _, step in texts} == {run_pb2.STEP_STATE_COMPLETED}
    assert all(text for text, _ in texts)
    with pytest.raises(ApiError) as refused:
        await _watched(client, tenant_id, run_id, 3)
    assert refused.value.reason == "ERROR_REASON_STEP_NOT_FOUND"


async def _watched(
    client: Client, tenant_id: str, run_id: str, visit: int
) -> tuple[str, run_pb2.RunStep]:
    """Watch what the critic's model says in a visit; return the text and the step."""
    text, step = "", run_pb2.RunStep()
    request = run_service_pb2.WatchStepTextRequest(
        tenant_id=tenant_id, run_id=run_id, step="critic", visit=visit
    )
    async for response in client.runs.WatchStepText(request):
        text += response.text.text
        if response.HasField("step"):
            step = response.step
    return text, step
