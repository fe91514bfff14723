"""Files of short steps of which an earlier or a late attempt has committed others."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from asyncio import FIRST_COMPLETED
from functools import partial
from typing import TYPE_CHECKING

import pytest
from tests.support.runs_worker import SHORT, UNLIKE, RunsWorker, after, steps_of

if TYPE_CHECKING:
    import asyncpg
    from tests.support.runs_peers import FakeArtifacts

    from jsonvalues import JsonValue


async def test_what_an_earlier_attempt_has_committed_is_taken_and_computed_on_from(
    worker: RunsWorker, files: FakeArtifacts, database: asyncpg.Connection
) -> None:
    run_id = (await worker.create(*after(SHORT, "a", "b", "c"))).run_id
    path = f"storage/acme/{run_id}/a/output.json"
    files.contents[path] = b"7"
    files.files[path] = hashlib.sha256(b"7").hexdigest()
    digests: dict[str, str] = {}

    async def value() -> JsonValue:
        assert worker.context is not None
        step = worker.context.step
        needed = {"b": "a", "c": "b"}.get(step)
        if needed is not None:
            digests[step] = worker.context.outputs[needed][0].digest
        return f"{step} {digests}"

    worker.does = value
    await worker.walk("a", "b", "c")

    rows = await database.fetch("SELECT step, output_digest, status FROM steps ORDER BY id")
    outputs = {row["step"]: row["output_digest"] for row in rows}
    committed = {step: files.files[f"storage/acme/{run_id}/{step}/output.json"] for step in "abc"}
    assert outputs == committed
    assert digests == {"b": outputs["a"], "c": outputs["b"]}
    assert [row["status"] for row in rows] == ["completed"] * 3


@pytest.mark.parametrize("committed", [0, 1, 2])
async def test_nothing_is_committed_that_was_computed_from_what_is_dropped(
    worker: RunsWorker,
    other_worker: RunsWorker,
    files: FakeArtifacts,
    database: asyncpg.Connection,
    committed: int,
) -> None:
    run_id = (await worker.create(*after(UNLIKE, "a", "b", "c"))).run_id
    used: dict[str, str] = {}
    """What each content was computed from."""

    async def unlike(of: RunsWorker) -> JsonValue:
        assert of.context is not None
        needed = {"b": "a", "c": "b"}.get(of.context.step)
        value = secrets.token_hex(8)
        used[value] = of.context.outputs[needed][0].digest if needed else ""
        return value

    worker.does = partial(unlike, worker)
    files.dies_after = committed
    dying = asyncio.create_task(worker.walk("a", "b", "c"))
    await asyncio.wait((dying, asyncio.create_task(files.died.wait())), return_when=FIRST_COMPLETED)
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    files.dies_after = None
    other_worker.work, other_worker.does = worker.work, partial(unlike, other_worker)
    await other_worker.walk("a", "b", "c")

    rows = await database.fetch("SELECT step, output_digest, status FROM steps ORDER BY id")
    outputs = {row["step"]: row["output_digest"] for row in rows}
    contents = {step: files.contents[f"storage/acme/{run_id}/{step}/output.json"] for step in "abc"}
    assert [row["status"] for row in rows] == ["completed"] * 3
    assert outputs == {s: hashlib.sha256(content).hexdigest() for s, content in contents.items()}
    made_of = {step: used[json.loads(content)] for step, content in contents.items()}
    assert made_of == {"a": "", "b": outputs["a"], "c": outputs["b"]}


async def test_a_late_worker_commits_nothing_that_was_computed_from_what_is_dropped(
    worker: RunsWorker, files: FakeArtifacts, database: asyncpg.Connection
) -> None:
    run_id = (await worker.create(*after(UNLIKE, "a", "b"))).run_id
    used: dict[str, str] = {}

    async def overtaken() -> JsonValue:
        assert worker.context is not None
        value = secrets.token_hex(8)
        used[value] = worker.context.outputs["a"][0].digest if worker.context.step == "b" else ""
        if worker.context.step == "b" and len(used) == 2:  # another one has committed a meanwhile
            path = f"storage/acme/{run_id}/a/output.json"
            files.contents[path] = b"7"
            files.files[path] = hashlib.sha256(b"7").hexdigest()
        return value

    worker.does = overtaken
    await worker.walk("a", "b")

    content = files.contents[f"storage/acme/{run_id}/b/output.json"]
    assert used[json.loads(content)] == hashlib.sha256(b"7").hexdigest()
    assert await steps_of(database) == [("completed", 0)] * 2
