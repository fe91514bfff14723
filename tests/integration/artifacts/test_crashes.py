"""The service is killed: nothing wrong is ever visible."""

from __future__ import annotations

import asyncio
import os
import random
from functools import partial
from typing import TYPE_CHECKING

import pytest
from tests.integration.artifacts.blocking import commits_blocked
from tests.integration.artifacts.replica import Replica, running_replica
from tests.support.artifacts_client import (
    MEBIBYTE,
    ArtifactsClient,
    acting_for,
    digest_of,
    reason_of,
    wait_for_file,
)
from tests.support.waiting import fewer_run, wait_until

from artifacts.app.small_files import SMALL_BYTES
from servicekit.channel import open_channel
from servicekit.errors import DomainError, NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    import asyncpg
    from tests.support.databases import TenantDatabases

    from artifacts.composition import Composition
    from artifacts.config import StoreConfig
    from servicekit.testing import Keys

LEASED = SMALL_BYTES + 1


@pytest.fixture
async def replica(
    tenant_databases: TenantDatabases, store: StoreConfig, keys: Keys
) -> AsyncGenerator[Replica]:
    async with running_replica(tenant_databases, store, keys) as replica:
        yield replica


@pytest.fixture
async def doomed(
    replica: Replica, tenant_databases: TenantDatabases, keys: Keys, objects: Path
) -> AsyncGenerator[ArtifactsClient]:
    """The service in a process that will be killed."""
    async with open_channel(replica.address, None, acting_for("acme", keys)) as channel:
        yield ArtifactsClient(channel, objects, "acme", await tenant_databases.create_run("acme"))


@pytest.mark.parametrize("other", [False, True])
async def test_a_kill_between_put_and_commit_leaves_nothing_visible(
    doomed: ArtifactsClient, replica: Replica, database: asyncpg.Connection, *, other: bool
) -> None:
    body = os.urandom(LEASED)
    async with commits_blocked(database):
        writing = asyncio.create_task(doomed.put((doomed.draft(), body)))
        await wait_for_file(doomed.on_disk(doomed.path()), writing)
        await replica.kill()
        writing.cancel()
        await asyncio.wait((writing,))
    await replica.start()

    with pytest.raises(NotFound):
        await doomed.download(doomed.path())

    if other:
        body = os.urandom(2 * LEASED)
        await _age_writes(database, doomed)
    committed = await doomed.put_one(body, doomed.draft())
    assert committed.digest == digest_of(body)
    assert doomed.on_disk(doomed.path()).read_bytes() == body
    assert await doomed.download(doomed.path()) == body


async def test_kills_at_any_instant_lose_nothing_that_was_acknowledged(
    doomed: ArtifactsClient, replica: Replica, database: asyncpg.Connection, service: Composition
) -> None:
    chance = random.Random(20261123)  # noqa: S311 - a test
    acknowledged: dict[str, str] = {}
    stopping = asyncio.Event()

    async def write(number: int) -> None:
        written = 0
        while not stopping.is_set():
            written += 1
            name = f"artifacts/{number}/{written}"
            size = chance.choice([10, 5000, 3 * MEBIBYTE])
            while not stopping.is_set():
                body = os.urandom(size)  # another one after each failure, as a step's reply may be
                try:
                    async with asyncio.timeout(6):
                        await _write(doomed, name, body)
                except (DomainError, TimeoutError):
                    name += "x" if chance.random() < 0.5 else ""
                    await asyncio.sleep(0.1)
                else:
                    acknowledged[doomed.path(name)] = digest_of(body)
                    break

    async def are_acknowledged(count: int) -> bool:
        return len(acknowledged) >= count

    writers = tuple(asyncio.create_task(write(number)) for number in range(6))
    for kills in range(1, 6):
        await wait_until(partial(are_acknowledged, 5 * kills), unless=fewer_run(writers))
        await asyncio.sleep(chance.uniform(0.0, 1.0))
        await replica.kill()
        await replica.start()
    stopping.set()
    await asyncio.gather(*writers)
    await replica.kill()

    await database.execute("UPDATE artifact_bodies SET created_at = now() - interval '1 hour'")
    assert await service.collector.store_left_bodies("acme")
    rows = await _digests(database, doomed)
    assert len(acknowledged) > 20
    assert acknowledged.items() <= rows.items()
    for path, digest in rows.items():
        assert digest_of(doomed.on_disk(path).read_bytes()) == digest
    await _age_writes(database, doomed)
    await service.collector.collect("acme")
    assert _stored(doomed) == rows.keys()


async def _age_writes(database: asyncpg.Connection, client: ArtifactsClient) -> None:
    """Make the writes of a run as old as if an hour had passed."""
    await database.execute(
        "UPDATE artifact_writes SET renewed_at = renewed_at - interval '1 hour'"
        " WHERE run_id = $1::uuid",
        client.run_id,
    )


async def _write(client: ArtifactsClient, name: str, body: bytes) -> None:
    if len(body) > MEBIBYTE:
        await client.upload(client.draft(name), body)
        return
    result = (await client.put((client.draft(name), body)))[0]
    if result.HasField("status"):
        raise DomainError(reason_of(result.status))


async def _digests(database: asyncpg.Connection, client: ArtifactsClient) -> dict[str, str]:
    rows = await database.fetch(
        "SELECT file_path, digest FROM artifacts WHERE run_id = $1::uuid", client.run_id
    )
    return {row["file_path"]: row["digest"] for row in rows}


def _stored(client: ArtifactsClient) -> set[str]:
    """Return the paths of the run's objects."""
    folder = client.on_disk(f"storage/acme/{client.run_id}")
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(client.objects)) for file in files}
