"""An orderly `down` while runs are under way: nothing that was paid for is lost.

Judged by the stub's own log and the ledger.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.e2e.article import PIPELINE, brief, load_article
from tests.fault.ledger import assert_paid_at_most_once, ledger, name_of
from tests.support.public_api import create_run, create_tenant, finish

from nagaya.llm_gateway.v1 import call_pb2
from nagaya.runs.v1 import run_pb2
from nagaya_local.commands import down, up

if TYPE_CHECKING:
    from tests.support.stack import LocalStack

RUNS = 16
LAST_STEP = "the last pair of eyes"
"""Words of the prompt of an article's last step."""
DEADLINE_SECONDS = 240.0


@pytest.mark.timeout(300)
async def test_down_with_16_runs_under_way_loses_no_whole_reply(stack: LocalStack) -> None:
    async with stack.client() as client, asyncio.timeout(DEADLINE_SECONDS):
        tenant_id = await create_tenant(client, "down")
        await load_article(client, tenant_id)
        # However long `down` takes to begin: no run is done before.
        stack.stub.script(LAST_STEP, {"kind": "delay", "delay_ms": 3_000})
        runs = [await create_run(client, tenant_id, PIPELINE, brief()) for _ in range(RUNS)]
        await _until_answered(stack, RUNS)
    await down(stack.layout, lambda _: None)
    under_way = [line for line in stack.calls() if line["event"] == "begin"]
    await up(stack.layout, lambda _: None)

    async with stack.client() as client, asyncio.timeout(DEADLINE_SECONDS):
        ended = await asyncio.gather(*(finish(client, tenant_id, run_id) for run_id in runs))

        assert [run.state for run in ended] == [run_pb2.RUN_STATE_COMPLETED] * RUNS
        calls = await ledger(client, tenant_id)
        assert len(under_way) < len(calls), "everything was done before it went down"
        whole = stack.whole_replies()
        unknown = [
            f"{name_of(call.key)}/{attempt.attempt}"
            for call in calls
            for attempt in call.attempts
            if attempt.state == call_pb2.CALL_STATE_UNKNOWN
        ]
        assert [name for name in unknown if name in whole] == []
        await assert_paid_at_most_once(stack, client, tenant_id)


@pytest.mark.timeout(300)
async def test_down_says_whom_it_waits_for(stack: LocalStack) -> None:
    async with stack.client() as client, asyncio.timeout(DEADLINE_SECONDS):
        tenant_id = await create_tenant(client, "wait")
        await load_article(client, tenant_id)
        rule = stack.stub.script(tenant_id, {"kind": "hold"}, times=1)
        await create_run(client, tenant_id, PIPELINE, brief() | {"topic": tenant_id})
        await stack.stub.wait_until_held(rule)
    lines: list[str] = []

    def report(line: str) -> None:
        lines.append(line)
        if line.startswith("waiting for llm-gateway"):
            stack.stub.release(rule)

    await down(stack.layout, report)

    assert lines[0] == "stopping"
    assert [line.partition(",")[0] for line in lines[1:-1]] == [
        "waiting for runs-worker: it finishes the steps under way",
        "waiting for llm-gateway: it finishes the calls to providers that are under way",
    ]
    assert lines[-1] == "nothing runs"


async def _until_answered(stack: LocalStack, count: int) -> None:
    """Return when providers have answered so many calls; more are under way then."""
    while len(stack.whole_replies()) < count:  # noqa: ASYNC110 - another process's file
        await asyncio.sleep(0.05)
