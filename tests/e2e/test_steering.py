"""Runs that are retried and paused, judged by the provider's own count and the tenant's database.

TEST_STEERED_ELEMENTS says how many elements the maps have: 300 for the full count.
"""

from __future__ import annotations

import os
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
from tests.support.waiting import wait_until

from nagaya.llm_gateway.v1 import call_pb2, call_service_pb2
from nagaya.runs.v1 import run_pb2, run_service_pb2

if TYPE_CHECKING:
    from tests.support.stack import LocalStack

    from nagaya_client.client import Client

ELEMENTS = int(os.environ.get("TEST_STEERED_ELEMENTS", "24"))
REFUSED = 3
COMPLETED, FAILED = run_pb2.RUN_STATE_COMPLETED, run_pb2.RUN_STATE_FAILED


def asked(step: str, binding: dict[str, Any], *needs: str, **more: object) -> dict[str, Any]:
    llm = {
        "model": {"modelId": "claude-sonnet-5-5"},
        "maxOutputTokens": 50,
        "bindings": [{"variable": "text", **binding}],
    }
    return {"step": step, "needs": list(needs), "llm": llm, **more}


SPEC = {
    "steps": [
        asked("extract", {"element": {}}, map={"step": "input"}),
        {
            "step": "all",
            "needs": ["extract"],
            "function": {"function": "collect", "short": True},
        },
        asked("review", {"output": {"step": "all"}}, "all"),
    ]
}


async def create_invoices(client: Client) -> str:
    tenant_id = await create_tenant(client, "steered")
    for step in ("extract", "review"):
        await create_prompt(client, tenant_id, step, f"{step} {{{{text}}}}")
    await create_pipeline(client, tenant_id, "invoices", SPEC)
    return tenant_id


async def retry(client: Client, tenant_id: str, run_id: str, **more: Any) -> None:  # noqa: ANN401
    request = run_service_pb2.RetryRunRequest(
        tenant_id=tenant_id, run_id=run_id, request_id=secrets.token_hex(8), **more
    )
    await client.runs.RetryRun(request)


async def outputs(
    stack: LocalStack, client: Client, tenant_id: str
) -> dict[tuple[str, int], tuple[str, str]]:
    """Return path and digest of what is done, by step and element."""
    database = await stack.database(client, tenant_id)
    rows = await database.fetch(
        "SELECT step, item, output_path, output_digest FROM steps WHERE status = 'completed'"
    )
    await database.close()
    return {(row[0], row[1]): (row[2], row[3]) for row in rows}


async def settled_totals(
    client: Client, tenant_id: str, run_id: str
) -> tuple[run_pb2.Run, list[call_pb2.Call]]:
    """Return a run and its calls, once its totals are their sums."""

    async def found() -> tuple[run_pb2.Run, list[call_pb2.Call]] | None:
        get = run_service_pb2.GetRunRequest(tenant_id=tenant_id, run_id=run_id)
        run = (await client.runs.GetRun(get)).run
        calls: list[call_pb2.Call] = []
        request = call_service_pb2.ListCallsRequest(
            tenant_id=tenant_id, run_id=run_id, page_size=200
        )
        while True:
            page = await client.calls.ListCalls(request)
            calls += page.calls
            request.page_token = page.next_page_token
            if not page.next_page_token:
                break
        cost = sum(call.cost_micro_usd for call in calls)
        agree = run.totals.cost_micro_usd == cost and not run.totals.calls_open
        return (run, calls) if agree else None

    return await wait_until(found, pause=0.5)


@pytest.mark.timeout(300)
async def test_a_retry_pays_for_the_elements_that_were_refused_and_for_no_other(
    stack: LocalStack, client: Client
) -> None:
    tenant_id = await create_invoices(client)
    word = f"refused-{secrets.token_hex(6)}"
    stack.stub.script(word, {"kind": "status", "status": 400}, times=REFUSED)
    invoices = [f"invoice {number}" for number in range(ELEMENTS)]
    for place in range(REFUSED):
        invoices[(place + 1) * ELEMENTS // (REFUSED + 1)] += f" {word}"
    run_id = await create_run(client, tenant_id, "invoices", invoices)

    failed = await finish(client, tenant_id, run_id)
    assert (failed.state, failed.error.reason) == (FAILED, "PROVIDER_REFUSED")
    assert stack.requests_of(run_id) == ELEMENTS
    done = await outputs(stack, client, tenant_id)
    assert len(done) == ELEMENTS - REFUSED

    await retry(client, tenant_id, run_id)  # the provider takes them now
    completed = await finish(client, tenant_id, run_id)
    assert completed.state == COMPLETED
    assert stack.requests_of(run_id) == ELEMENTS + REFUSED + 1  # and the review
    after = await outputs(stack, client, tenant_id)
    assert done.items() <= after.items()
    assert len(after) == ELEMENTS + 3
    _, calls = await settled_totals(client, tenant_id, run_id)
    assert {call.state for call in calls} == {call_pb2.CALL_STATE_SETTLED}


@pytest.mark.timeout(120)
async def test_one_refused_element_is_retried_alone(stack: LocalStack, client: Client) -> None:
    tenant_id = await create_invoices(client)
    words = [f"refused-{secrets.token_hex(6)}" for _ in range(2)]
    for word in words:
        stack.stub.script(word, {"kind": "status", "status": 400}, times=1)
    run_id = await create_run(client, tenant_id, "invoices", ["one", *words, "four"])
    assert (await finish(client, tenant_id, run_id)).state == FAILED

    sent = stack.requests_of(run_id)
    await retry(client, tenant_id, run_id, step="extract", item=2)
    again = await finish(client, tenant_id, run_id)
    assert again.state == FAILED  # the other one is still refused
    assert stack.requests_of(run_id) == sent + 1
    done = await outputs(stack, client, tenant_id)
    assert {item for step, item in done if step == "extract" and item} == {1, 2, 4}

    await retry(client, tenant_id, run_id, step="extract", item=3)
    assert (await finish(client, tenant_id, run_id)).state == COMPLETED
    await settled_totals(client, tenant_id, run_id)


@pytest.mark.timeout(120)
async def test_a_reply_that_cannot_be_used_is_paid_again_only_where_that_is_said(
    stack: LocalStack, client: Client
) -> None:
    tenant_id = await create_invoices(client)
    word = f"refusal-{secrets.token_hex(6)}"
    stack.stub.script(word, {"kind": "reply", "text": "No.", "finish": "filtered"}, times=1)
    run_id = await create_run(client, tenant_id, "invoices", [word])
    failed = await finish(client, tenant_id, run_id)
    assert (failed.state, failed.error.reason) == (FAILED, "REPLY_REFUSED")

    await retry(client, tenant_id, run_id)
    assert (await finish(client, tenant_id, run_id)).error.reason == "REPLY_REFUSED"
    assert stack.requests_of(run_id) == 1

    await retry(client, tenant_id, run_id, new_calls=True)
    assert (await finish(client, tenant_id, run_id)).state == COMPLETED
    _, calls = await settled_totals(client, tenant_id, run_id)
    assert sorted(call.key.call for call in calls if call.key.step == "extract") == [1, 2]


@pytest.mark.timeout(300)
async def test_no_attempt_begins_while_runs_are_paused_under_load(
    stack: LocalStack, client: Client
) -> None:
    tenant_id = await create_invoices(client)
    runs = [
        await create_run(client, tenant_id, "invoices", [f"{run} {n}" for n in range(ELEMENTS)])
        for run in range(4)
    ]
    database = await stack.database(client, tenant_id)
    for _ in range(3):
        await _bulk(client, tenant_id, run_service_pb2.RUN_OPERATION_PAUSE)

        async def at_rest() -> bool:
            moving = "SELECT count(*) FROM runs WHERE status IN ('pending', 'running')"
            return await database.fetchval(moving) == 0

        await wait_until(at_rest, seconds=60)
        sent = sum(map(stack.requests_of, runs))
        begun = await database.fetchval("SELECT count(*) FROM step_attempts")
        in_flight = "SELECT count(*) FROM step_attempts WHERE status = 'running'"
        assert await database.fetchval(f"{in_flight} AND step_id IN ({ELEMENT_ROWS})") == 0
        assert not await _changes(database, begun)
        assert sum(map(stack.requests_of, runs)) == sent
        await _bulk(client, tenant_id, run_service_pb2.RUN_OPERATION_RESUME)
    ended = [await finish(client, tenant_id, run_id) for run_id in runs]
    assert {run.state for run in ended} == {COMPLETED}
    assert sum(map(stack.requests_of, runs)) == len(runs) * (ELEMENTS + 1)
    early = await database.fetchval(BEGUN_WHILE_PAUSED)
    assert early == 0
    await database.close()
    for run_id in runs:
        await settled_totals(client, tenant_id, run_id)


ELEMENT_ROWS = "SELECT id FROM steps WHERE step <> 'extract' OR item > 0"
"""Mapped steps as a whole are begun and wait for their elements."""

BEGUN_WHILE_PAUSED = """
    WITH changes AS (
        SELECT run_id, created_at, payload ->> 'status' AS status,
               lead(created_at) OVER (PARTITION BY run_id ORDER BY seq) AS until
          FROM run_events WHERE kind = 'run'
    )
    SELECT count(*)
      FROM changes
      JOIN steps USING (run_id)
      JOIN step_attempts ON step_id = steps.id
     WHERE changes.status = 'paused' AND step_attempts.started_at > changes.created_at
       AND step_attempts.started_at < changes.until
"""


async def _bulk(
    client: Client, tenant_id: str, operation: run_service_pb2.RunOperation.ValueType
) -> None:
    request = run_service_pb2.BulkRunsRequest(
        tenant_id=tenant_id,
        request_id=secrets.token_hex(8),
        filter=run_pb2.RunFilter(),
        operation=operation,
    )
    await client.runs.BulkRuns(request)


async def _changes(database: Any, begun: int) -> bool:  # noqa: ANN401 - asyncpg's connection
    """Return whether another attempt begins within a second."""
    await database.execute("SELECT pg_sleep(1)")
    return await database.fetchval("SELECT count(*) FROM step_attempts") != begun
