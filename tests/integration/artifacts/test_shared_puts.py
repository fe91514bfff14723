"""Files of one run that share a request: each has its own answer, and first commits win."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

import pytest
from tests.support.artifacts_client import acting_for

from runs.domain.outputs import FileDraft
from runs.peers.artifacts import Artifacts
from servicekit.channel import open_channel
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import asyncpg

    from interceptor.testing import RunningServer
    from runs.domain.runs import OutputFile
    from servicekit.testing import Keys


@pytest.fixture
async def files(server: RunningServer, keys: Keys) -> AsyncGenerator[Artifacts]:
    """What a worker of runs commits files with."""
    channel = open_channel(server.address, None, acting_for("acme", keys, "runs"))
    yield Artifacts(channel)
    await channel.close()


async def put(files: Artifacts, run_id: str, item: int, data: bytes) -> OutputFile:
    draft = FileDraft(run_id, "draft", f"artifacts/{item}-1/output.json", item=item)
    return await files.put("acme", draft, data)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def test_files_that_come_together_are_committed_by_few_transactions(
    files: Artifacts, run_id: str, database: asyncpg.Connection
) -> None:
    bodies = {item: f"{item}".encode() for item in range(1, 101)}
    results = await asyncio.gather(*(put(files, run_id, *each) for each in bodies.items()))

    assert [each.output_digest for each in results] == list(map(digest, bodies.values()))
    rows = await database.fetch("SELECT xmin::text FROM artifacts WHERE run_id = $1", run_id)
    assert len(rows) == 100
    assert len({row["xmin"] for row in rows}) <= 2


async def test_after_a_batch_that_was_partly_committed_what_is_committed_wins(
    files: Artifacts, run_id: str, database: asyncpg.Connection
) -> None:
    first = await asyncio.gather(*(put(files, run_id, item, b'"first"') for item in (2, 4)))
    results = await asyncio.gather(*(put(files, run_id, item, b'"again"') for item in range(1, 6)))

    assert [each.output_digest for each in results] == [
        digest(b'"first"' if item in (2, 4) else b'"again"') for item in range(1, 6)
    ]
    assert [results[1], results[3]] == first
    sql = "SELECT count(*) FROM artifacts WHERE run_id = $1"
    assert await database.fetchval(sql, run_id) == 5


async def test_a_file_that_is_refused_fails_no_other(
    files: Artifacts, run_id: str, database: asyncpg.Connection
) -> None:
    async def one(name: str) -> str:
        draft = FileDraft(run_id, "draft", name)
        try:
            return (await files.put("acme", draft, name.encode())).output_digest
        except DomainError as error:
            return error.reason

    names = ["artifacts/0-1/a", "artifacts/0-1/call-1.json", "no name", "artifacts/0-1/b"]
    results = await asyncio.gather(*map(one, names))

    assert [results[0], results[3]] == [digest(names[0].encode()), digest(names[3].encode())]
    assert results[1] == "ERROR_REASON_PATH_RESERVED"
    assert results[2] == "ERROR_REASON_REQUEST_INVALID"
    sql = "SELECT count(*) FROM artifacts WHERE run_id = $1"
    assert await database.fetchval(sql, run_id) == 2
