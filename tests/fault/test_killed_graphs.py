"""kill -9 of the worker in the middle of a graph: plan, tools in parallel, critic, person, text.

`TEST_KILLS` says how often; 20 to see all of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from typing import TYPE_CHECKING

import pytest
from temporalio.client import Client as Temporal
from tests.e2e.test_approvals import asked, decide
from tests.e2e.test_graphs import PROMPTS, research
from tests.fault.ledger import assert_paid_at_most_once, ledger
from tests.fault.test_kills import kill, wait_until_reachable
from tests.support.public_api import (
    create_pipeline,
    create_prompt,
    create_run,
    create_tenant,
    finish,
)

from nagaya.runs.v1 import run_pb2
from runs.auditor import examine
from runs.temporal.client import data_converter

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stack import LocalStack

KILLS = int(os.environ.get("TEST_KILLS", "3"))
RUNS = 3
CANARY = "CANARY-OF-A-BODY-"


@pytest.mark.timeout(600)
async def test_a_graph_survives_the_death_of_its_worker(stack: LocalStack, tmp_path: Path) -> None:
    chance = random.Random("graphs")  # noqa: S311 - a seed that can be repeated
    log = tmp_path / "log"
    rounds = 2 + KILLS // 2
    async with stack.client() as client, asyncio.timeout(540):
        tenant_id = await create_tenant(client, "graphs")
        await wait_until_reachable(client, tenant_id)
        for step, content in PROMPTS.items():
            await create_prompt(client, tenant_id, step, content)
        spec = research(log, rounds=rounds, seconds=0.5, asks=True)
        spec["graph"]["recursion_limit"] = 1_000
        await create_pipeline(client, tenant_id, "research", spec)
        given = {"topic": CANARY * 20}
        runs = [await create_run(client, tenant_id, "research", given) for _ in range(RUNS)]
        watches = [asyncio.create_task(finish(client, tenant_id, run_id)) for run_id in runs]
        kills = 0
        while kills < KILLS and not all(watch.done() for watch in watches):
            await asyncio.sleep(chance.uniform(0.5, 4.0))
            kills += await kill(stack, "runs-worker")
        for run_id in runs:
            await decide(client, tenant_id, (await asked(client, tenant_id, run_id)).approval_id)
        ended = await asyncio.gather(*watches)

        assert [run.state for run in ended] == [run_pb2.RUN_STATE_COMPLETED] * RUNS
        assert kills == KILLS
        await assert_paid_at_most_once(stack, client, tenant_id)
        assert len(await ledger(client, tenant_id)) == RUNS * (rounds + 2)
        database = await stack.database(client, tenant_id)
        rows = await database.fetch(
            "SELECT run_id, step, item, visit, status, completed_at FROM steps"
        )
        await database.close()
        for run_id in runs:
            text = stack.file(f"storage/{tenant_id}/{run_id}/write/artifacts/0-1/text.json")
            found = [one["number"] for one in json.loads(text.read_text())[1]]
            assert found == [1, 2, 3] * rounds
        temporal = await Temporal.connect(stack.endpoints.temporal, data_converter=data_converter())
        for run_id in runs:
            handle = temporal.get_workflow_handle(f"{tenant_id}/{run_id}")
            history = await handle.fetch_history()
            assert list(examine(history)) == []
            assert CANARY not in history.to_json()
    assert len(rows) == RUNS * (4 + 2 * rounds - 1 + 3 * rounds)
    assert {row["status"] for row in rows} == {"completed"}
    done = {
        (str(row["run_id"]), row["step"], row["item"], row["visit"]): row["completed_at"]
        for row in rows
    }
    for line in map(json.loads, log.read_text().splitlines()):
        at = done[line["run_id"], line["step"], line["item"], line["visit"]]
        assert line["time"] <= at.timestamp(), "run again after it was recorded as done"
