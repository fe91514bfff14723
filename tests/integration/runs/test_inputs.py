"""Runs whose input is a file: uploaded while they are held, or pointed to."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

import pytest
from tests.support.runs_client import RunsClient, reason

from nagaya.runs.v1 import run_pb2
from runs.domain.inputs import input_path
from servicekit.errors import Conflict, InvalidInput

if TYPE_CHECKING:
    import asyncpg
    from tests.support.runs_peers import FakeArtifacts

NO_RUN = "00000000-0000-0000-0000-000000000000"


async def test_a_held_run_waits_for_its_input(client: RunsClient, files: FakeArtifacts) -> None:
    await client.pipeline()
    run = await client.run(hold=True)
    path = input_path("storage/acme", run.run_id)
    with pytest.raises(Conflict) as refusal:
        await client.start(run.run_id)
    assert (reason(refusal), refusal.value.metadata["path"]) == ("INPUT_MISSING", path)

    digest = hashlib.sha256(b"{}").hexdigest()
    files.files[path] = digest
    started = await client.start(run.run_id)
    assert (run.held, started.held) == (True, False)
    assert (started.input.output_path, started.input.output_digest) == (path, digest)
    assert (started.input.summary, dict(started.input.metrics)) == (
        "2 characters",
        {"characters": 2},
    )
    assert await client.start(run.run_id) == started


async def test_concurrent_starts_of_a_held_run_start_it_once(
    client: RunsClient, files: FakeArtifacts, database: asyncpg.Connection
) -> None:
    await client.pipeline()
    run = await client.run(hold=True)
    files.files[input_path("storage/acme", run.run_id)] = "0" * 64
    await asyncio.gather(*(client.start(run.run_id) for _ in range(10)))

    assert await database.fetchval("SELECT count(*) FROM outbox") == 1
    assert await database.fetchval("SELECT last_seq FROM runs") == 2


async def test_a_held_run_that_was_cancelled_cannot_be_started(client: RunsClient) -> None:
    await client.pipeline()
    run = await client.run(hold=True)
    cancelled = await client.cancel(run.run_id)
    assert (cancelled.state, cancelled.held) == (run_pb2.RUN_STATE_CANCELLED, False)

    with pytest.raises(Conflict) as refusal:
        await client.start(run.run_id)
    assert reason(refusal) == "RUN_FINISHED"


async def test_a_pointer_leads_to_a_file_with_its_digest(
    client: RunsClient, files: FakeArtifacts
) -> None:
    await client.pipeline()
    path, digest = f"storage/acme/{NO_RUN}/polish/output.json", "ab" * 32
    pointer = {"path": path, "digest": digest}
    with pytest.raises(InvalidInput, match="no file is committed") as refusal:
        await client.run(pointer=pointer)
    assert reason(refusal) == "INPUT_INVALID"
    files.files[path] = "cd" * 32
    with pytest.raises(InvalidInput, match="another digest"):
        await client.run(pointer=pointer)

    files.files[path] = digest
    run = await client.run("r1", pointer=pointer)
    del files.files[path]
    assert await client.run("r1", pointer=pointer) == run
