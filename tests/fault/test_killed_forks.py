"""kill -9 of workers and of artifacts while a fork takes over files and rows of another run.

Judged by the tenant's database, the files as they are read and the stub's own log.
"""

from __future__ import annotations

import asyncio
import os
import random
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from tests.fault.test_kills import kill, wait_until_reachable
from tests.support.public_api import (
    create_pipeline,
    create_prompt,
    create_run,
    create_tenant,
    finish,
)

from nagaya.artifacts.v1 import artifact_pb2, artifact_service_pb2
from nagaya.runs.v1 import run_pb2, run_service_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.stack import LocalStack

    from nagaya_client.client import Client

ELEMENTS = int(os.environ.get("FORK_ELEMENTS", "100"))
KILLS = 3
OVER = {"map": {"step": "input"}}


def double(step: str) -> dict[str, Any]:
    return {"step": step, "function": {"function": "test.double", "short": True}, **OVER}


LAST = {
    "step": "last",
    "needs": ["second", "count"],
    "llm": {
        "model": {"modelId": "claude-sonnet-5-5"},
        "maxOutputTokens": 20,
        "bindings": [{"variable": "x", "output": {"step": "count"}}],
    },
}
SPEC = {
    "steps": [
        double("first"),
        double("second"),
        {"step": "count", "function": {"function": "constant", "arguments": {"value": 1}}},
        LAST,
    ]
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", ["runs-worker", "artifacts"])
async def test_a_fork_takes_over_everything_once_however_often_a_part_is_killed(
    stack: LocalStack, part: str
) -> None:
    chance = random.Random(f"forks {part}")  # noqa: S311 - a seed that can be repeated
    async with stack.client() as client, asyncio.timeout(240):
        tenant_id = await create_tenant(client, "forks")
        await wait_until_reachable(client, tenant_id)
        await create_prompt(client, tenant_id, "last", "Say {{x}}.")
        await create_pipeline(client, tenant_id, "forks", SPEC)
        run_id = await create_run(client, tenant_id, "forks", list(range(ELEMENTS)))
        source = await finish(client, tenant_id, run_id)
        assert source.state == run_pb2.RUN_STATE_COMPLETED, source.error
        request = run_service_pb2.ForkRunRequest(
            tenant_id=tenant_id, run_id=run_id, request_id=uuid.uuid4().hex, from_step="last"
        )
        forked = (await client.runs.ForkRun(request)).run
        watch = asyncio.create_task(finish(client, tenant_id, forked.run_id))
        kills = 0
        while kills < KILLS and not watch.done():
            await asyncio.sleep(chance.uniform(0.1, 1.0))
            kills += await kill(stack, part)
        run = await watch

        assert run.state == run_pb2.RUN_STATE_COMPLETED, run.error
        assert kills > 0
        assert stack.requests_of(run.run_id) == 1
        await _judge(stack, client, tenant_id, (run_id, run.run_id))


async def _judge(
    stack: LocalStack, client: Client, tenant_id: str, run_ids: tuple[str, str]
) -> None:
    database = await stack.database(client, tenant_id)
    digests: list[dict[tuple[str, int, int], str]] = []
    for run_id in map(uuid.UUID, run_ids):
        rows = await database.fetch(
            "SELECT step, item, visit, output_path, output_digest FROM steps WHERE run_id = $1",
            run_id,
        )
        digests.append({(r["step"], r["item"], r["visit"]): r["output_digest"] for r in rows})
        files = await database.fetch(
            "SELECT file_path, digest FROM artifacts WHERE run_id = $1", run_id
        )
        committed = {row["file_path"]: row["digest"] for row in files}
        assert {r["output_path"]: r["output_digest"] for r in rows}.items() <= committed.items()
        await _read_all(client, tenant_id, committed)
    seqs = await database.fetchval(
        "SELECT array_agg(seq ORDER BY seq) FROM run_events WHERE run_id = $1",
        uuid.UUID(run_ids[1]),
    )
    reused = await database.fetchval(
        "SELECT count(*) FROM steps WHERE run_id = $1 AND reused", uuid.UUID(run_ids[1])
    )
    await database.close()
    old, new = digests
    assert old.keys() == new.keys()
    elements = [key for key in old if key[1]]
    assert len(elements) == 2 * ELEMENTS
    assert {key: old[key] for key in elements} == {key: new[key] for key in elements}
    assert reused == 2 * ELEMENTS + 1
    assert seqs == list(range(1, len(seqs) + 1))


async def _read_all(client: Client, tenant_id: str, files: Mapping[str, str]) -> None:
    """Read files, by path and digest. One may not be on the disk yet: whoever put it was cancelled
    with its caller, and the collector does it.
    """
    pointers = [
        artifact_pb2.ArtifactPointer(path=path, digest=digest) for path, digest in files.items()
    ]
    for begin in range(0, len(pointers), 200):
        request = artifact_service_pb2.BatchGetArtifactsRequest(
            tenant_id=tenant_id, pointers=pointers[begin : begin + 200]
        )
        results = (await client.artifacts.BatchGetArtifacts(request)).results
        assert [each for each in results if each.HasField("status")] == []
