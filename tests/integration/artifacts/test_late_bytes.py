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

from artifacts.app.small_files import SMALL_BYTES
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


class DelayingProxy:
    """A TCP proxy before the store; it keeps what arrives while it is closed."""

    def __init__(self, store: StoreConfig) -> None:
        self._store = urlsplit(store.endpoint)
        self._late: list[bytes] = []
        self._connections: set[asyncio.Task[None]] = set()
        self.closed = False

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[str]:
        """Yield the proxy's address."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            await asyncio.gather(*self._connections)

    async def deliver(self) -> int:
        """Send the requests that wait to the store, one after another; return how many."""
        for request in self._late:
            reader, writer = await self._connect()
            writer.write(request)
            assert (await reader.readline()).split()[1] == b"200"
            await _close(writer)
        return len(self._late)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self._store.hostname, self._store.port)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
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
def proxy(store: StoreConfig) -> DelayingProxy:
    return DelayingProxy(store)


@pytest.fixture
async def proxied(
    proxy: DelayingProxy, store: StoreConfig, data: DataPlane, keys: Keys, client: ArtifactsClient
) -> AsyncGenerator[ArtifactsClient]:
    """A client of a service that reaches the store through the proxy, for the same run."""
    async with (
        proxy.running() as address,
        ObjectStore(replace(store, endpoint=address)) as object_store,
    ):
        with compose("storage", COLLECTING, data, object_store) as service:
            async with (
                serve(keys, *service.bindings) as server,
                server.channel(acting_for("acme", keys)) as channel,
            ):
                yield ArtifactsClient(channel, client.objects, "acme", client.run_id)


async def test_late_bytes_are_expected_although_a_later_writer_of_them_ended(
    proxied: ArtifactsClient,
    proxy: DelayingProxy,
    database: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The later one saw its own request end, and that says nothing about the first one's."""
    monkeypatch.setattr(object_store_client, "PUT_SECONDS", 1.0)
    first, second = os.urandom(SMALL_BYTES + 1), os.urandom(2 * SMALL_BYTES)
    announced = await proxied.create_upload(proxied.draft(), first)
    proxy.closed = True
    refused = (await proxied.put((proxied.draft(), first)))[0]
    assert reason_of(refused.status) == "ERROR_REASON_STORE_UNAVAILABLE"
    proxy.closed = False
    monkeypatch.undo()
    await _age_writes(database, proxied, "10 seconds")
    with pytest.raises(InvalidInput):
        await proxied.send_upload(announced.upload.upload_id, first[:10])
    await _age_writes(database, proxied, "1 minute")

    writing = asyncio.create_task(proxied.put_one(second, proxied.draft()))
    await wait_for_file(proxied.on_disk(proxied.path()), writing)
    assert await proxy.deliver()

    assert (await writing).digest == digest_of(second)
    assert await proxied.download(proxied.path()) == second


async def _age_writes(database: asyncpg.Connection, client: ArtifactsClient, age: str) -> None:
    await database.execute(
        f"UPDATE artifact_writes SET renewed_at = renewed_at - interval '{age}'"
        " WHERE run_id = $1::uuid",
        client.run_id,
    )
