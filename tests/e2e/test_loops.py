"""Loops: visits, what they leave behind, and where they end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.e2e.test_maps import function
from tests.support.public_api import (
    create_pipeline,
    create_prompt,
    create_run,
    create_tenant,
    finish,
    list_steps,
)

from nagaya.runs.v1 import run_pb2

if TYPE_CHECKING:
    from tests.support.stack import LocalStack

    from nagaya_client.client import Client

EXAMPLE = Path(__file__).parents[2] / "examples" / "review-loop"
CONTINUE = "VISIT_LIMIT_POLICY_CONTINUE"


def repeat(first: str, when: str, most: int, **more: str) -> dict[str, Any]:
    return {"from_step": first, "when": when, "max_visits": most, **more}


async def test_the_example_writes_and_reviews_until_the_review_is_good(
    stack: LocalStack, client: Client
) -> None:
    tenant_id = await create_tenant(client, "loop")
    for path in (EXAMPLE / "prompts").glob("*.md"):
        await create_prompt(client, tenant_id, path.stem, path.read_text())
    spec = yaml.safe_load((EXAMPLE / "pipeline.yaml").read_text())
    name = spec.pop("pipeline")
    for step in spec["steps"][:2]:
        step["llm"]["model"] = {"model_id": "claude-sonnet-5-5"}
    await create_pipeline(client, tenant_id, name, spec)
    value = json.loads((EXAMPLE / "input.json").read_text())
    run_id = await create_run(client, tenant_id, name, value)
    run = await finish(client, tenant_id, run_id)

    assert run.state == run_pb2.RUN_STATE_COMPLETED, run.error
    steps = {(step.step, step.visit): step for step in await list_steps(client, tenant_id, run_id)}
    visits = max(visit for _, visit in steps)
    scores = [steps["review", visit].output.metrics["score"] for visit in range(1, visits + 1)]
    assert [score >= 8 for score in scores] == [False] * (visits - 1) + [scores[-1] >= 8]
    assert visits == 5 or scores[-1] >= 8
    assert len(steps) == 2 * visits + 1
    assert stack.requests_of(run_id) == 2 * visits, "each call is made once"
    folder = stack.file(f"storage/{tenant_id}/{run_id}")
    for step in ("write", "review"):
        files = [folder / step / "artifacts" / f"0-{n + 1}" / "output.json" for n in range(visits)]
        assert all(file.exists() for file in files)
        assert (folder / step / "output.json").read_bytes() == files[-1].read_bytes()
    result = json.loads((folder / "result" / "output.json").read_bytes())
    assert result["review"]["score"] == scores[-1]


@pytest.mark.parametrize("short", [False, True])
async def test_a_step_gets_what_the_visits_before_have_left(
    stack: LocalStack, client: Client, *, short: bool
) -> None:
    tenant_id = await create_tenant(client, "loop")
    first = function("first", "test.visits", "input")
    first["function"] |= {"previous_visits": ["last"], "short": short}
    last = function("last", "test.visits", "first") | {"metrics": {"visit": "/visit"}}
    last["function"] |= {"short": short}
    last["repeat"] = repeat("first", "last.visit < 3", 10)
    after = function("after", "collect", "first", "last")
    await create_pipeline(client, tenant_id, "loop", {"steps": [after, last, first]})
    run_id = await create_run(client, tenant_id, "loop", None)
    run = await finish(client, tenant_id, run_id)

    assert run.state == run_pb2.RUN_STATE_COMPLETED, run.error
    collected = json.loads(
        stack.file(f"storage/{tenant_id}/{run_id}/after/output.json").read_text()
    )
    assert collected["first"] == {"visit": 3, "read": {"input": None, "last": 2}}
    assert collected["last"] == {"visit": 3, "read": {"input": None, "first": 3}}


@pytest.mark.parametrize("on_limit", ["", CONTINUE])
async def test_a_loop_that_goes_on_for_ever_ends_as_its_pipeline_says(
    client: Client, on_limit: str
) -> None:
    tenant_id = await create_tenant(client, "loop")
    again = function("again", "test.visits", "input") | {"metrics": {"visit": "/visit"}}
    again["repeat"] = repeat("again", "again.visit > 0", 4) | (
        {"on_limit": on_limit} if on_limit else {}
    )
    after = function("after", "collect", "again")
    await create_pipeline(client, tenant_id, "loop", {"steps": [again, after]})
    run_id = await create_run(client, tenant_id, "loop", None)
    run = await finish(client, tenant_id, run_id)

    steps = [(step.step, step.visit) for step in await list_steps(client, tenant_id, run_id)]
    visits = [("again", visit) for visit in (1, 2, 3, 4)]
    if on_limit:
        assert run.state == run_pb2.RUN_STATE_COMPLETED, run.error
        assert steps == [*visits, ("after", 1)]
    else:
        assert (run.state, run.error.reason) == (run_pb2.RUN_STATE_FAILED, "VISITS_USED_UP")
        assert (run.error.step, run.error.visit) == ("again", 4)
        assert "step again asks for another visit after 4" in run.error.message
        assert steps == visits


async def test_a_map_in_a_loop_is_done_in_each_visit(stack: LocalStack, client: Client) -> None:
    tenant_id = await create_tenant(client, "loop")
    numbers = function("numbers", "test.numbers", "input", arguments={"count": 3})
    each = function("each", "test.visits", "numbers", map={"step": "numbers"})
    last = function("last", "test.visits", "each") | {"metrics": {"visit": "/visit"}}
    last["repeat"] = repeat("each", "last.visit < 2", 2)
    after = function("after", "collect", "each")
    await create_pipeline(client, tenant_id, "loop", {"steps": [numbers, each, last, after]})
    run_id = await create_run(client, tenant_id, "loop", None)
    run = await finish(client, tenant_id, run_id)

    assert run.state == run_pb2.RUN_STATE_COMPLETED, run.error
    steps = await list_steps(client, tenant_id, run_id)
    rows = [(step.item, step.visit) for step in steps if step.step == "each"]
    assert sorted(rows) == [(item, visit) for item in range(4) for visit in (1, 2)]
    folder = stack.file(f"storage/{tenant_id}/{run_id}")
    collected = json.loads((folder / "after" / "output.json").read_text())
    assert [value["visit"] for value in collected["each"]] == [2, 2, 2]
    manifest = json.loads((folder / "each" / "output.json").read_text())
    assert [item["path"].split("/")[-2] for item in manifest["items"]] == ["1-2", "2-2", "3-2"]
