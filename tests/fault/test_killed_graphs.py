"""kill -9 of the worker in the middle of a graph: plan, tools in parallel, critic, person, text.

`TEST_KILLS` says how often; 20 to see all of it. So many runs are made that some are always under
way.
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

    from nagaya_client.client import Client

KILLS = int(os.environ.get("TEST_KILLS", "3"))
ROUNDS = 3
RUNS_AT_ONCE = 3
CANARY = "CANARY-OF-A-BODY-"
SECONDS = 120 + 60 * KILLS


@pytest.mark.timeout(SECONDS + 60)
async def test_graphs_survive_the_death_of_their_worker(stack: LocalStack, tmp_path: Path) -> None:
    chance = random.Random("graphs")  # noqa: S311 - a seed that can be repeated
    log = tmp_path / "log"
    log.touch()
    async with stack.client() as client, asyncio.timeout(SECONDS):
        tenant_id = await create_tenant(client, "graphs")
        await wait_until_reachable(client, tenant_id)
        for step, content in PROMPTS.items():
            await create_prompt(client, tenant_id, step, content)
        spec = research(log, rounds=ROUNDS, seconds=0.5, asks=True)
        await create_pipeline(client, tenant_id, "research", spec)
        runs: dict[str, asyncio.Task[run_pb2.Run]] = {}
        for _ in range(KILLS):
            while sum(not ending.done() for ending in runs.values()) < RUNS_AT_ONCE:
                run_id = await create_run(client, tenant_id, "research", {"topic": CANARY * 20})
                runs[run_id] = asyncio.create_task(_through(client, tenant_id, run_id))
            await _until_longer(log)  # a node has begun, or ended: the worker works
            await asyncio.sleep(chance.uniform(0.0, 1.5))
            assert await kill(stack, "runs-worker")
        ended = await asyncio.gather(*runs.values())

        assert {run.state for run in ended} == {run_pb2.RUN_STATE_COMPLETED}, ended
        await assert_paid_at_most_once(stack, client, tenant_id)
        assert len(await ledger(client, tenant_id)) == len(runs) * (ROUNDS + 2)
        database = await stack.database(client, tenant_id)
        rows = await database.fetch(
            "SELECT run_id, step, item, visit, status, completed_at FROM steps"
        )
        await database.close()
        for run_id in runs:
            # By the service: what a worker was putting when it died need not be on the disk yet.
            text = client.read(
                tenant_id, f"storage/{tenant_id}/{run_id}/write/artifacts/0-1/text.json"
            )
            body = b"".join([chunk async for chunk in text.chunks()])
            assert [one["number"] for one in json.loads(body)[1]] == [1, 2, 3] * ROUNDS
        temporal = await Temporal.connect(stack.endpoints.temporal, data_converter=data_converter())
        for run_id in runs:
            handle = temporal.get_workflow_handle(f"{tenant_id}/{run_id}")
            history = await handle.fetch_history()
            assert list(examine(history)) == []
            assert CANARY not in history.to_json()
    # plan, decide, publish, write; between two rounds `again`; a critic and three tools in each
    assert len(rows) == len(runs) * (4 + (ROUNDS - 1) + 4 * ROUNDS)
    assert {row["status"] for row in rows} == {"completed"}
    done = {
        (str(row["run_id"]), row["step"], row["item"], row["visit"]): row["completed_at"]
        for row in rows
    }
    for line in map(json.loads, log.read_text().splitlines()):
        at = done[line["run_id"], line["step"], line["item"], line["visit"]]
        assert line["time"] <= at.timestamp(), "run again after it was recorded as done"


async def _through(client: Client, tenant_id: str, run_id: str) -> run_pb2.Run:
    """See a run to its end, with what it asks a person."""
    await decide(client, tenant_id, (await asked(client, tenant_id, run_id)).approval_id)
    return await finish(client, tenant_id, run_id)


async def _until_longer(log: Path) -> None:
    before = _size(log)
    while _size(log) == before:  # noqa: ASYNC110 - other processes write it
        await asyncio.sleep(0.05)


def _size(log: Path) -> int:
    return log.stat().st_size
