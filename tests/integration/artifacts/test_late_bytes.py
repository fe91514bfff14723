"""Bytes that are held up on their way to the store, and come when another writer has the path."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from tests.integration.artifacts.conftest import COLLECTING
from tests.support.artifacts_client import (
    ArtifactsClient,
    acting_for,
    digest_of,
    reason_of,
    wait_for_file,
)

from artifacts.composition import compose
from artifacts.object_store import client as object_store_client
from artifacts.object_store.client import ObjectStore
from interceptor.testing import serve
from servicekit.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import asyncpg

    from artifacts.config import StoreConfig
    from dataplane.tenants import DataPlane
    from servicekit.testing import Keys


class Road:
    """The way to the store. What comes while it is closed waits, even when its sender has left."""

    def __init__(self, store: StoreConfig) -> None:
        self._store = urlsplit(store.endpoint)
        self._late: list[bytes] = []
        self._travellers: set[asyncio.Task[None]] = set()
        self.closed = False

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[str]:
        """Yield the address where it begins."""
        server = await asyncio.start_server(self._enter, "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            await asyncio.gather(*self._travellers)

    async def deliver(self) -> int:
        """Let what has been waiting arrive, one after another; return how many."""
        for request in self._late:
            reader, writer = await self._connect()
            writer.write(request)
            assert (await reader.readline()).split()[1] == b"200"
            await _close(writer)
        return len(self._late)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self._store.hostname, self._store.port)

    def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._travellers.add(asyncio.create_task(self._travel(reader, writer)))

    async def _travel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.closed:
            self._late.append(await reader.read())
            await _close(writer)
            return
        from_store, to_store = await self._connect()
        await asyncio.gather(_pump(reader, to_store), _pump(from_store, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    await _close(writer)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


@pytest.fixture
def road(store: StoreConfig) -> Road:
    return Road(store)


@pytest.fixture
async def far(
    road: Road, store: StoreConfig, data: DataPlane, keys: Keys, client: ArtifactsClient
) -> AsyncGenerator[ArtifactsClient]:
    """The service at the other end of the road, for the same run."""
    async with (
        road.open() as address,
        ObjectStore(replace(store, endpoint=address)) as object_store,
    ):
        with compose("storage", COLLECTING, data, object_store) as service:
            async with (
                serve(keys, *service.bindings) as server,
                server.channel(acting_for("acme", keys)) as channel,
            ):
                yield ArtifactsClient(channel, client.objects, "acme", client.run_id)


async def test_late_bytes_are_expected_although_a_later_writer_of_them_ended(
    far: ArtifactsClient, road: Road, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The later one saw its own request end, and that says nothing about the first one's."""
    monkeypatch.setattr(object_store_client, "PUT_SECONDS", 1.0)
    first, second = os.urandom(1000), os.urandom(2000)
    announced = await far.create_upload(far.draft(), first)
    road.closed = True
    refused = (await far.put((far.draft(), first)))[0]
    assert reason_of(refused.status) == "ERROR_REASON_STORE_UNAVAILABLE"
    road.closed = False
    await _age_writes(database, far, "10 seconds")
    with pytest.raises(InvalidInput):
        await far.send_upload(announced.upload.upload_id, first[:10])
    await _age_writes(database, far, "1 minute")

    writing = asyncio.create_task(far.put_one(second, far.draft()))
    await wait_for_file(far.on_disk(far.path()), writing)
    assert await road.deliver()

    assert (await writing).digest == digest_of(second)
    assert await far.download(far.path()) == second


async def _age_writes(database: asyncpg.Connection, client: ArtifactsClient, age: str) -> None:
    await database.execute(
        f"UPDATE artifact_writes SET renewed_at = renewed_at - interval '{age}'"
        " WHERE run_id = $1::uuid",
        client.run_id,
    )
