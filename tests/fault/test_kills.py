"""kill -9 of every service and of the worker, while runs are under way.

Judged by the stub's own log and the ledger: every run ends well; every HTTP request to a provider
is one attempt of the ledger, and every attempt one request, unless the ledger shows it as unknown;
a call has more than one attempt only where it shows the ones before as unknown.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from typing import TYPE_CHECKING

import grpc
import pytest
from tests.e2e.article import PIPELINE, brief, load_article
from tests.fault.ledger import assert_paid_at_most_once, ledger
from tests.support.public_api import create_run, create_tenant, finish

from nagaya.llm_gateway.v1 import call_pb2
from nagaya.runs.v1 import run_pb2, run_service_pb2
from nagaya_client.errors import ApiError

if TYPE_CHECKING:
    from tests.support.stack import LocalStack

    from nagaya_client.client import Client

PARTS = ("tenant", "artifacts", "llm-gateway", "runs", "runs-worker")
KILLS = 5
RUNS = 2
DEADLINE_SECONDS = 240.0


@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", PARTS)
async def test_runs_end_well_however_often_a_part_is_killed(stack: LocalStack, part: str) -> None:
    chance = random.Random(f"kill {part}")  # noqa: S311 - a seed that can be repeated
    async with stack.client() as client, asyncio.timeout(DEADLINE_SECONDS):
        tenant_id = await create_tenant(client, "kill")
        await wait_until_reachable(client, tenant_id)
        await load_article(client, tenant_id)
        runs = [await create_run(client, tenant_id, PIPELINE, brief()) for _ in range(RUNS)]
        watches = [asyncio.create_task(finish(client, tenant_id, run_id)) for run_id in runs]
        kills = 0
        while kills < KILLS and not all(watch.done() for watch in watches):
            await asyncio.sleep(chance.uniform(0.1, 1.5))
            kills += await kill(stack, part)
        ended = await asyncio.gather(*watches)

        assert [run.state for run in ended] == [run_pb2.RUN_STATE_COMPLETED] * RUNS
        assert kills > 0
        await assert_paid_at_most_once(stack, client, tenant_id)


@pytest.mark.timeout(300)
async def test_a_gateway_that_dies_while_a_provider_answers_leaves_one_unknown_attempt(
    stack: LocalStack,
) -> None:
    async with stack.client() as client, asyncio.timeout(DEADLINE_SECONDS):
        tenant_id = await create_tenant(client, "hold")
        await wait_until_reachable(client, tenant_id)
        await load_article(client, tenant_id)
        marker = f"hold-{tenant_id}"
        rule = stack.stub.script(marker, {"kind": "hold"}, times=1)
        value = brief() | {"topic": marker}
        run_id = await create_run(client, tenant_id, PIPELINE, value)
        await stack.stub.wait_until_held(rule)
        assert await kill(stack, "llm-gateway")
        run = await finish(client, tenant_id, run_id)

        assert run.state == run_pb2.RUN_STATE_COMPLETED, run.error
        calls = await ledger(client, tenant_id)
        unknown = [
            call
            for call in calls
            if call_pb2.CALL_STATE_UNKNOWN in {attempt.state for attempt in call.attempts}
        ]
        assert [(call.key.step, len(call.attempts)) for call in unknown] == [("outline", 2)]
        await assert_paid_at_most_once(stack, client, tenant_id)


def test_logs_of_kills_are_json_lines_without_stack_traces(stack: LocalStack) -> None:
    for part in PARTS:
        lines = stack.layout.log(part).read_text().splitlines()
        records = [json.loads(line) for line in lines]

        assert [record for record in records if "exception" in record] == [], part


async def wait_until_reachable(client: Client, tenant_id: str) -> None:
    """Wait until what was killed last is back for those who ask it: they try now and then."""
    while True:
        try:
            await client.runs.ListRuns(run_service_pb2.ListRunsRequest(tenant_id=tenant_id))
        except ApiError as error:
            if error.code is not grpc.StatusCode.UNAVAILABLE:
                raise
            await asyncio.sleep(0.2)
        else:
            return


async def kill(stack: LocalStack, part: str) -> bool:
    """Kill a part with -9, if it is up."""
    pid = json.loads(stack.layout.pids.read_text()).get(part)
    if pid is None:
        return False
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
