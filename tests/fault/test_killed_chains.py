"""kill -9 in the middle of chains and of maps: what is recorded as done is not done again.

Judged by what the functions note themselves, by the tenant's database, and by the stub's own log.
"""

from __future__ import annotations

import asyncio
import json
import random
from typing import TYPE_CHECKING, Any

import pytest
from tests.fault.ledger import assert_paid_at_most_once
from tests.fault.test_kills import kill, wait_until_reachable
from tests.support.public_api import (
    create_pipeline,
    create_prompt,
    create_run,
    create_tenant,
    finish,
)

from nagaya.runs.v1 import run_pb2

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stack import LocalStack

    from nagaya_client.client import Client

KILLS = 4
ELEMENTS = 12


def counted(log: Path, step: str, *needs: str, count: int = 0, **more: object) -> dict[str, Any]:
    """Return a step whose function takes a second and notes when it begins and ends."""
    arguments = {"log": str(log), "seconds": 1, "count": count}
    function = {"function": "test.counted", "arguments": arguments}
    return {"step": step, "needs": list(needs), "function": function, **more}


def asked(step: str, variable: str, value: dict[str, Any], *needs: str, **more: object) -> Any:  # noqa: ANN401 - JSON
    llm = {
        "model": {"model_id": "claude-sonnet-5-5"},
        "bindings": [{"variable": variable, **value}],
        "max_output_tokens": 100,
    }
    return {"step": step, "needs": list(needs), "llm": llm, **more}


def spec(log: Path) -> dict[str, Any]:
    """Return a chain that is longer than a local activity, and a map that is walked by element."""
    over = {"map": {"step": "b"}}
    after = (("c", "ask"), ("d", "c"), ("e", "d"))
    before = {"element_output": {"step": "say"}}
    return {
        "steps": [
            counted(log, "a"),
            asked("ask", "x", {"output": {"step": "a"}}, "a"),
            *(counted(log, name, needed) for name, needed in after),
            counted(log, "b", "e", count=ELEMENTS),
            asked("say", "x", {"element": {}}, "b", **over),
            asked("say-again", "x", before, "b", "say", **over),
            counted(log, "each", "say", map={"step": "say"}),
        ]
    }


@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", ["runs-worker", "temporal", "postgres"])
async def test_what_is_recorded_as_done_is_not_done_again(
    stack: LocalStack, tmp_path: Path, part: str
) -> None:
    chance = random.Random(f"chains {part}")  # noqa: S311 - a seed that can be repeated
    log = tmp_path / "log"
    async with stack.client() as client, asyncio.timeout(240):
        tenant_id = await create_tenant(client, "chains")
        await wait_until_reachable(client, tenant_id)
        for step in ("ask", "say", "say-again"):
            await create_prompt(client, tenant_id, step, f"{step} {{{{x}}}}")
        await create_pipeline(client, tenant_id, "chains", spec(log))
        runs = [await create_run(client, tenant_id, "chains", None) for _ in range(3)]
        watches = [asyncio.create_task(finish(client, tenant_id, run_id)) for run_id in runs]
        kills = 0
        while kills < KILLS and not all(watch.done() for watch in watches):
            await asyncio.sleep(chance.uniform(0.5, 4.0))
            kills += await kill(stack, part)
        ended = await asyncio.gather(*watches)

        assert [run.state for run in ended] == [run_pb2.RUN_STATE_COMPLETED] * 3
        assert kills > 0
        await _judge(stack, client, tenant_id, list(map(json.loads, read(log))))
        await assert_paid_at_most_once(stack, client, tenant_id)


def read(log: Path) -> list[str]:
    return log.read_text().splitlines()


async def _judge(
    stack: LocalStack, client: Client, tenant_id: str, lines: list[dict[str, Any]]
) -> None:
    database = await stack.database(client, tenant_id)
    rows = await database.fetch(
        "SELECT run_id, step, item, status, completed_at FROM steps ORDER BY id"
    )
    events = await database.fetch(
        "SELECT array_agg(seq ORDER BY seq) AS seqs, max(last_seq) AS last FROM run_events"
        " JOIN runs ON runs.id = run_id GROUP BY run_id"
    )
    await database.close()
    done = {(str(row["run_id"]), row["step"], row["item"]): row["completed_at"] for row in rows}
    late = [
        line
        for line in lines
        if line["word"] == "began"
        and line["time"] > done[line["run_id"], line["step"], line["item"]].timestamp()
    ]
    assert late == [], "done again after it was recorded as done"
    assert {row["status"] for row in rows} == {"completed"}
    assert len(rows) == 3 * (9 + 3 * ELEMENTS)
    assert all(row["seqs"] == list(range(1, row["last"] + 1)) for row in events)
