"""What a run has cost is the sum of its ledger, to the micro-USD, whatever became of it."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from tests.support.public_api import (
    create_pipeline,
    create_prompt,
    create_run,
    create_tenant,
    finish,
)
from tests.support.waiting import wait_until

from nagaya.llm_gateway.v1 import call_pb2, call_service_pb2
from nagaya.runs.v1 import run_pb2, run_service_pb2

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stack import LocalStack

    from nagaya_client.client import Client

AT_ONCE = 50
"""How many elements of a map are done at once."""
ELEMENTS = 150
MORE_THAN_ALLOWED = 20
"""How many more elements than allowed may fail before no further one begins."""
LLM = {"model": {"modelId": "claude-sonnet-5-5"}, "maxOutputTokens": 50}
SPEC = {
    "steps": [
        {
            "step": "write",
            "map": {"step": "input"},
            "llm": LLM | {"bindings": [{"variable": "title", "element": {}}]},
        }
    ]
}


async def test_calls_in_flight_when_a_run_fails_are_in_its_totals_once_they_have_ended(
    stack: LocalStack, client: Client, tmp_path: Path
) -> None:
    tenant_id = await create_writing_tenant(client)
    refused, slow = (f"{name}-{secrets.token_hex(6)}" for name in ("refused", "slow"))
    stack.stub.script(refused, {"kind": "status", "status": 400}, times=1)
    rule = stack.stub.script(slow, {"kind": "hold"}, times=1)
    side_by_side: list[dict[str, Any]] = [
        {"step": name, "llm": LLM | {"bindings": [{"variable": "title", "text": title}]}}
        for name, title in (("one", refused), ("two", slow), ("three", "quick"))
    ]
    for step in side_by_side:
        await create_prompt(client, tenant_id, str(step["step"]), "Write about {{title}}.")
    until = tmp_path / "until"
    waits = {"function": "test.waits", "arguments": {"until": str(until)}}
    gate = {"step": "gate", "function": waits}
    side_by_side[0] |= {"needs": ["gate"]}
    await create_pipeline(client, tenant_id, "branches", {"steps": [gate, *side_by_side]})
    run_id = await create_run(client, tenant_id, "branches", None)
    await stack.stub.wait_until_held(rule)
    until.touch()

    ended = await finish(client, tenant_id, run_id)
    assert ended.state == run_pb2.RUN_STATE_FAILED
    assert ended.totals.calls_open
    stack.stub.release(rule)

    run, calls = await ended_calls(client, tenant_id, run_id)
    states = [call.state for call in calls]
    assert states.count(call_pb2.CALL_STATE_SETTLED) == 2
    check_totals(run, calls)
    assert run.totals.cost_micro_usd > ended.totals.cost_micro_usd


async def test_calls_in_flight_when_a_run_is_cancelled_are_in_its_totals_once_they_have_ended(
    stack: LocalStack, client: Client
) -> None:
    tenant_id = await create_writing_tenant(client)
    slow = f"slow-{secrets.token_hex(6)}"
    rule = stack.stub.script(slow, {"kind": "delay", "delay_ms": 2_500}, times=1)
    run_id = await create_run(client, tenant_id, "titles", [slow, "quick", "quicker"])
    await stack.stub.wait_until_open(rule)
    cancel = run_service_pb2.CancelRunRequest(tenant_id=tenant_id, run_id=run_id)
    await client.runs.CancelRun(cancel)

    ended = await finish(client, tenant_id, run_id)
    assert ended.state == run_pb2.RUN_STATE_CANCELLED

    run, calls = await ended_calls(client, tenant_id, run_id)
    assert call_pb2.CALL_STATE_SETTLED in [call.state for call in calls]
    check_totals(run, calls)


async def test_nothing_behind_a_full_row_is_asked_for_once_many_elements_have_failed(
    stack: LocalStack, client: Client
) -> None:
    tenant_id = await create_writing_tenant(client)
    refused, slow = (f"{name}-{secrets.token_hex(6)}" for name in ("refused", "slow"))
    stack.stub.script(refused, {"kind": "status", "status": 400}, times=ELEMENTS)
    rule = stack.stub.script(slow, {"kind": "hold"}, times=ELEMENTS)
    titles = [f"{refused if number < 25 else slow} {number}" for number in range(ELEMENTS)]
    run_id = await create_run(client, tenant_id, "titles", titles)
    ended = await finish(client, tenant_id, run_id)
    stack.stub.release(rule)

    assert (ended.state, ended.error.reason) == (run_pb2.RUN_STATE_FAILED, "PROVIDER_REFUSED")
    run, calls = await ended_calls(client, tenant_id, run_id)
    assert MORE_THAN_ALLOWED < len(calls) <= MORE_THAN_ALLOWED + AT_ONCE
    assert [len(call.attempts) for call in calls] == [1] * len(calls)
    check_totals(run, calls)


async def create_writing_tenant(client: Client) -> str:
    tenant_id = await create_tenant(client, "costs")
    await create_prompt(client, tenant_id, "write", "Write about {{title}}.")
    await create_pipeline(client, tenant_id, "titles", SPEC)
    return tenant_id


async def ended_calls(
    client: Client, tenant_id: str, run_id: str
) -> tuple[run_pb2.Run, list[call_pb2.Call]]:
    """Wait until nothing of a run is in flight; return it and its ledger."""
    get = run_service_pb2.GetRunRequest(tenant_id=tenant_id, run_id=run_id)

    async def ended() -> run_pb2.Run | None:
        run = (await client.runs.GetRun(get)).run
        return None if run.totals.calls_open else run

    run = await wait_until(ended)  # a watch ends with the run, and tells nothing later
    ledger = call_service_pb2.ListCallsRequest(tenant_id=tenant_id, run_id=run_id, page_size=200)
    return run, list((await client.calls.ListCalls(ledger)).calls)


def check_totals(run: run_pb2.Run, calls: list[call_pb2.Call]) -> None:
    assert run.totals.cost_micro_usd == sum(call.cost_micro_usd for call in calls) > 0
    usages = [call.usage for call in calls]
    assert run.totals.output_tokens == sum(
        usage.output_tokens + usage.reasoning_tokens for usage in usages
    )
    assert run.totals.input_tokens == sum(
        usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens for usage in usages
    )
