"""Forks of runs with failed elements, loops, lists within lists and approvals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.e2e.invoices import files_of, fork, steps_of
from tests.e2e.test_approvals import ask, asked, decide
from tests.e2e.test_map_failures import INVOICES, REFUSED, start
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
from nagaya_client.errors import ApiError

if TYPE_CHECKING:
    from tests.support.stack import LocalStack

    from nagaya_client.client import Client

LOOP = Path(__file__).parents[2] / "examples" / "review-loop"
COMPLETED, FAILED = run_pb2.RUN_STATE_COMPLETED, run_pb2.STEP_STATE_FAILED
MODEL = {"modelId": "claude-sonnet-5-5"}


def say(step: str, *needs: str) -> dict[str, Any]:
    """Return a step that asks a model for nothing in particular."""
    return {"step": step, "needs": list(needs), "llm": {"model": MODEL, "maxOutputTokens": 20}}


async def test_elements_that_were_allowed_to_fail_stay_failed_and_only_the_report_is_paid(
    stack: LocalStack, client: Client
) -> None:
    tenant_id, source, refused = await start(stack, client, allow_failed=REFUSED)
    assert source.state == COMPLETED, source.error
    again = "Report again: {{read}} but not {{failed}}"
    await create_prompt(client, tenant_id, "report", again)

    run = await fork(client, tenant_id, source.run_id, promptVersions={"report": 2})

    assert run.state == COMPLETED, run.error
    assert stack.requests_of(run.run_id) == 1
    steps = await steps_of(client, tenant_id, run.run_id)
    failed = {key for key, step in steps.items() if step.state == FAILED}
    assert failed == {("extract", item) for item in refused}
    assert sum(step.reused for step in steps.values()) == 2 * INVOICES - REFUSED
    manifests = [
        json.loads(stack.file(f"storage/{tenant_id}/{each.run_id}/extract/output.json").read_text())
        for each in (source, run)
    ]
    old, new = [[(one["item"], one["reason"]) for one in each["failed"]] for each in manifests]
    assert old == new
    assert all(f"/{run.run_id}/" in one["path"] for one in manifests[1]["items"])
    (report,) = [step for step in steps.values() if step.step == "report"]
    assert run.totals.cost_micro_usd == report.cost_micro_usd > 0


async def test_a_loop_is_taken_over_with_all_its_visits_or_gone_through_again(
    stack: LocalStack, client: Client
) -> None:
    tenant_id = await create_tenant(client, "loop")
    for path in (LOOP / "prompts").glob("*.md"):
        await create_prompt(client, tenant_id, path.stem, path.read_text())
    spec = yaml.safe_load((LOOP / "pipeline.yaml").read_text())
    del spec["pipeline"]
    for step in spec["steps"][:2]:
        step["llm"]["model"] = MODEL
    await create_prompt(client, tenant_id, "last", "Say something.")
    spec["steps"].append(say("last", "result"))
    await create_pipeline(client, tenant_id, "loop", spec)
    value = json.loads((LOOP / "input.json").read_text())
    source = await finish(client, tenant_id, await create_run(client, tenant_id, "loop", value))
    assert source.state == COMPLETED, source.error

    run = await fork(client, tenant_id, source.run_id, fromStep="last")

    assert run.state == COMPLETED, run.error
    assert stack.requests_of(run.run_id) == 1
    old, new = [await files_of(client, tenant_id, each.run_id) for each in (source, run)]
    assert old.keys() == new.keys()
    assert {k: d for k, d in old.items() if k[0] != "last"}.items() <= new.items()
    visits = [
        {(step.step, step.visit) for step in await list_steps(client, tenant_id, each.run_id)}
        for each in (source, run)
    ]
    assert visits[0] == visits[1]

    anew = await fork(client, tenant_id, source.run_id, fromStep="review")
    assert anew.state == COMPLETED, anew.error
    rows = await list_steps(client, tenant_id, anew.run_id)
    assert [row.step for row in rows if row.reused] == []
    assert stack.requests_of(anew.run_id) == len(rows) - 1


async def test_lists_within_lists_are_taken_over(stack: LocalStack, client: Client) -> None:
    tenant_id = await create_tenant(client, "nested")
    await create_prompt(client, tenant_id, "last", "Say something.")
    outer = function("outer", "element", map={"step": "input"})
    inner = function(
        "inner", "test.double", "outer", map={"step": "outer", "json_pointer": "/rows"}
    )
    steps = [outer, inner, function("all", "collect", "inner"), say("last", "all")]
    await create_pipeline(client, tenant_id, "nested", {"steps": steps})
    given = [{"rows": [1, 2, 3]}, {"rows": []}, {"rows": [4]}]
    source = await finish(client, tenant_id, await create_run(client, tenant_id, "nested", given))
    assert source.state == COMPLETED, source.error

    run = await fork(client, tenant_id, source.run_id, fromStep="last")

    assert run.state == COMPLETED, run.error
    assert stack.requests_of(run.run_id) == 1
    rows = await steps_of(client, tenant_id, run.run_id)
    taken = {key for key, step in rows.items() if key[1] and step.reused}
    assert taken == {("outer", n) for n in (1, 2, 3)} | {("inner", n) for n in (1, 2, 3, 4)}
    old, new = [await files_of(client, tenant_id, each.run_id) for each in (source, run)]
    assert old["all", "output.json"] == new["all", "output.json"]


async def test_a_decision_is_taken_over_unless_what_was_decided_on_is_done_again(
    client: Client,
) -> None:
    tenant_id = await create_tenant(client, "approval")
    value = function("value", "constant", arguments={"value": 1})
    after = function("after", "constant", "good", arguments={"value": 2})
    asks = {"steps": [value, ask("good", "value"), after]}
    await create_pipeline(client, tenant_id, "asks", asks)
    run_id = await create_run(client, tenant_id, "asks", None)
    await decide(client, tenant_id, (await asked(client, tenant_id, run_id)).approval_id)
    source = await finish(client, tenant_id, run_id)
    assert source.state == COMPLETED, source.error

    run = await fork(client, tenant_id, run_id, fromStep="after")

    assert run.state == COMPLETED, run.error
    old, new = [await steps_of(client, tenant_id, each) for each in (run_id, run.run_id)]
    assert {name for (name, _), step in new.items() if step.reused} == {"value", "good"}
    assert new["good", 0].output.values == old["good", 0].output.values


async def test_a_run_of_a_graph_is_not_forked(client: Client) -> None:
    tenant_id = await create_tenant(client, "graphs")
    await create_pipeline(client, tenant_id, "quick", {"graph": {"graph": "test.quick"}})
    source = await finish(client, tenant_id, await create_run(client, tenant_id, "quick", None))
    assert source.state == COMPLETED, source.error

    with pytest.raises(ApiError, match="a graph, which decides anew") as refusal:
        await fork(client, tenant_id, source.run_id, fromStep="only")
    assert refusal.value.reason == "ERROR_REASON_REQUEST_INVALID"
