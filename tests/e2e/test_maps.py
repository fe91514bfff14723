"""Maps: over lists of any length, over other maps, and what comes after them."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.public_api import (
    create_pipeline,
    create_prompt,
    create_run,
    create_tenant,
    finish,
)

from nagaya.runs.v1 import run_pb2

if TYPE_CHECKING:
    from tests.support.stack import LocalStack

    from nagaya_client.client import Client

AT_ONCE = 50
COUNT = 250
MOST = 5_000


def function(step: str, name: str, *needs: str, **more: object) -> dict[str, Any]:
    arguments = more.pop("arguments", {})
    kind = {
        "function": name,
        "arguments": arguments,
        "short": name in ("constant", "collect", "element"),
    }
    return {"step": step, "needs": list(needs), "function": kind, **more}


def over(step: str) -> dict[str, str]:
    return {"step": step}


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_a_map_over_a_map_walks_values_and_collects_a_list_of_any_length(
    stack: LocalStack, client: Client, count: int
) -> None:
    tenant_id = await create_tenant(client, "maps")
    await create_prompt(client, tenant_id, "write", "Write about these: {{all}}")
    bound = {"variable": "all", "output": {"step": "twice"}}
    model = {"modelId": "claude-sonnet-5-5"}
    spec = {
        "steps": [
            function("list", "test.numbers", arguments={"count": count}),
            function("once", "test.double", "list", map=over("list")),
            function("twice", "test.double", "once", map=over("once")),
            function("all", "collect", "list", "once", "twice"),
            {"step": "write", "needs": ["twice"], "llm": {"bindings": [bound], "model": model}},
        ]
    }
    await create_pipeline(client, tenant_id, "maps", spec)
    run_id = await create_run(client, tenant_id, "maps", None)
    run = await finish(client, tenant_id, run_id)

    assert run.state == run_pb2.RUN_STATE_COMPLETED, run.error
    numbers = list(range(count))
    collected = stack.file(f"storage/{tenant_id}/{run_id}/all/output.json").read_bytes()
    assert json.loads(collected) == {
        "list": numbers,
        "once": [2 * number for number in numbers],
        "twice": [4 * number for number in numbers],
    }


@pytest.mark.parametrize("length", [AT_ONCE, AT_ONCE + 1, 4 * AT_ONCE + 1])
async def test_as_many_calls_are_made_at_once_however_long_the_list_is(
    stack: LocalStack, client: Client, length: int
) -> None:
    word = f"held-{secrets.token_hex(6)}"
    rule = stack.stub.script(word, {"kind": "hold"}, times=AT_ONCE)
    tenant_id = await create_tenant(client, "maps")
    await create_prompt(client, tenant_id, "write", f"{word} {{{{text}}}}")
    bound = {"variable": "text", "element": {}}
    llm = {"bindings": [bound], "model": {"modelId": "claude-sonnet-5-5"}, "maxOutputTokens": 20}
    await create_pipeline(
        client, tenant_id, "maps", {"steps": [{"step": "write", "map": over("input"), "llm": llm}]}
    )
    run_id = await create_run(client, tenant_id, "maps", [f"{n}" for n in range(length)])
    await stack.stub.wait_until_held(rule, count=AT_ONCE)
    stack.stub.release(rule)
    run = await finish(client, tenant_id, run_id)

    assert run.state == run_pb2.RUN_STATE_COMPLETED, run.error
    assert most_at_once(stack, run_id) == AT_ONCE


def most_at_once(stack: LocalStack, run_id: str) -> int:
    """Return how many calls of a run were in flight at once, by the stub's own log."""
    lines = stack.calls()
    mine = {line["seq"] for line in lines if (line.get("idempotency") or "").startswith(run_id)}
    in_flight = most = 0
    for line in lines:
        if line["seq"] in mine:
            in_flight += 1 if line["event"] == "begin" else -1
            most = max(most, in_flight)
    return most


@pytest.mark.timeout(300)
async def test_a_list_may_have_5000_elements(stack: LocalStack, client: Client) -> None:
    tenant_id = await create_tenant(client, "maps")
    spec = {
        "steps": [
            function("list", "test.numbers", arguments={"count": MOST}),
            function("each", "constant", "list", map=over("list")),
            function("all", "collect", "each"),
        ]
    }
    await create_pipeline(client, tenant_id, "most", spec)
    run_id = await create_run(client, tenant_id, "most", None)
    run = await finish(client, tenant_id, run_id)

    assert run.state == run_pb2.RUN_STATE_COMPLETED, run.error
    assert run.totals.completed_steps == MOST + 3
    collected = json.loads(stack.file(f"storage/{tenant_id}/{run_id}/all/output.json").read_bytes())
    assert collected["each"] == [None] * MOST
    database = await stack.database(client, tenant_id)
    numbered = await database.fetch("SELECT seq FROM run_events ORDER BY seq")
    await database.close()
    assert [row["seq"] for row in numbered] == list(range(1, run.last_sequence + 1))


async def test_long_maps_side_by_side_leave_no_deadlock_in_the_log_of_the_database(
    stack: LocalStack, client: Client
) -> None:
    log = stack.layout.log("postgres")
    before = log.read_text().count("deadlock detected")
    tenant_id = await create_tenant(client, "maps")
    for name, short in (("long", False), ("short", True)):
        kind = {"function": "constant", "arguments": {"value": 1}, "short": short}
        each = {"step": "each", "map": over("input"), "function": kind}
        await create_pipeline(client, tenant_id, name, {"steps": [each]})
    lists = [list(range(COUNT))] * 2
    run_ids = [
        await create_run(client, tenant_id, name, elements)
        for elements in lists
        for name in ("long", "short")
    ]
    for run_id in run_ids:
        run = await finish(client, tenant_id, run_id)
        assert run.state == run_pb2.RUN_STATE_COMPLETED, run.error
        assert run.totals.completed_steps == COUNT + 1

    assert log.read_text().count("deadlock detected") == before
