"""Many writers of one path, in two replicas of the service."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest
from tests.integration.artifacts.conftest import COLLECTING
from tests.integration.artifacts.leftovers import nothing_left
from tests.support.artifacts_client import (
    MEBIBYTE,
    ArtifactsClient,
    acting_for,
    digest_of,
    reason_of,
    wait_for_file,
)

from artifacts.app.small_files import SMALL_BYTES
from artifacts.composition import compose
from interceptor.testing import serve
from servicekit.errors import Conflict, NotFound, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import asyncpg

    from artifacts.object_store.client import ObjectStore
    from dataplane.tenants import DataPlane
    from nagaya.artifacts.v1 import artifact_pb2
    from servicekit.testing import Keys


@pytest.fixture
async def replica(
    client: ArtifactsClient, data: DataPlane, object_store: ObjectStore, keys: Keys
) -> AsyncGenerator[ArtifactsClient]:
    """A second replica, as the same worker sees it."""
    with compose("storage", COLLECTING, data, object_store) as service:
        async with (
            serve(keys, *service.bindings) as server,
            server.channel(acting_for("acme", keys)) as channel,
        ):
            yield ArtifactsClient(channel, client.objects, client.tenant_id, client.run_id)


@pytest.mark.parametrize("size", [4096, 2 * MEBIBYTE + 1])
async def test_of_64_writers_with_two_bodies_one_body_wins(
    client: ArtifactsClient, replica: ArtifactsClient, database: asyncpg.Connection, size: int
) -> None:
    bodies = [os.urandom(size), os.urandom(size)]
    reading = asyncio.Event()

    async def write(number: int) -> str:
        through = (client, replica)[number % 2]
        try:
            return (await _write(through, bodies[number // 2 % 2])).digest
        except Conflict:
            return ""

    async def read() -> set[bytes]:
        seen: set[bytes] = set()
        while not reading.is_set():
            try:
                seen.add(await replica.download(client.path()))
            except NotFound:
                await asyncio.sleep(0.005)
        return seen

    readers = [asyncio.create_task(read()) for _ in range(2)]
    results = await asyncio.gather(*map(write, range(64)))
    reading.set()
    seen = set().union(*await asyncio.gather(*readers))

    (winner,) = {digest for digest in results if digest}
    won = [digest_of(body) == winner for body in bodies]
    assert [bool(result) for result in results] == [won[n // 2 % 2] for n in range(64)]
    assert client.on_disk(client.path()).read_bytes() == bodies[won.index(True)]
    assert seen <= {bodies[won.index(True)]}
    await nothing_left(database, client)
    assert not await database.fetchval(
        "SELECT count(*) FROM artifact_writes WHERE run_id = $1::uuid", client.run_id
    )


async def test_two_batches_with_the_same_paths_do_not_block_each_other(
    client: ArtifactsClient, replica: ArtifactsClient
) -> None:
    drafts = [client.draft(f"artifacts/{n}") for n in range(20)]
    there = [(draft, b"tea") for draft in drafts]
    back = [(draft, b"coffee") for draft in reversed(drafts)]
    results = await asyncio.gather(*(h.put(*b) for h in (client, replica) for b in (there, back)))

    for position, draft in enumerate(drafts):
        outcomes = [
            str(result[position if batch % 2 == 0 else -1 - position].WhichOneof("outcome"))
            for batch, result in enumerate(results)
        ]
        assert sorted(outcomes) == ["artifact", "artifact", "status", "status"]
        assert outcomes[0] == outcomes[2]
        stored = client.on_disk(client.path(draft.name)).read_bytes()
        assert stored == (b"tea" if outcomes[0] == "artifact" else b"coffee")


async def test_a_writer_that_has_lost_its_lease_commits_nothing(
    client: ArtifactsClient, database: asyncpg.Connection
) -> None:
    async with database.transaction():
        await database.execute("LOCK TABLE artifacts IN SHARE MODE")
        body = bytes(SMALL_BYTES + 1)
        writing = asyncio.create_task(client.put((client.draft(), body)))
        await wait_for_file(client.on_disk(client.path()), writing)
        await database.execute(
            "UPDATE artifact_writes SET writer = gen_random_uuid() WHERE run_id = $1::uuid",
            client.run_id,
        )
    result = (await writing)[0]

    assert "taken over" in result.status.message
    assert not await database.fetchval(
        "SELECT count(*) FROM artifacts WHERE run_id = $1::uuid", client.run_id
    )


async def test_a_writer_that_has_lost_its_lease_can_send_its_upload_again(
    client: ArtifactsClient, database: asyncpg.Connection
) -> None:
    announced = await client.create_upload(client.draft(), b"tea")
    async with database.transaction():
        await database.execute("LOCK TABLE artifacts IN SHARE MODE")
        sending = asyncio.create_task(client.send_upload(announced.upload.upload_id, b"tea"))
        await wait_for_file(client.on_disk(client.path()), sending)
        await database.execute(
            "UPDATE artifact_writes SET writer = gen_random_uuid(), in_flight = false"
            " WHERE run_id = $1::uuid",
            client.run_id,
        )

    with pytest.raises(Unavailable):
        await sending
    sent = await client.send_upload(announced.upload.upload_id, b"tea")
    assert sent.digest == digest_of(b"tea")
    assert await client.download(client.path()) == b"tea"


async def _write(client: ArtifactsClient, body: bytes) -> artifact_pb2.Artifact:
    if len(body) > MEBIBYTE:
        return await client.upload(client.draft(), body)
    result = (await client.put((client.draft(), body)))[0]
    if result.HasField("status"):
        assert reason_of(result.status) == "ERROR_REASON_ARTIFACT_CONFLICT"
        raise Conflict(result.status.message)
    return result.artifact
