"""A start costs the object store the same few requests, however many objects it has."""

from __future__ import annotations

import asyncio
import re
import shutil
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
from tests.integration.artifacts.conftest import COLLECTING

from artifacts.composition import compose
from artifacts.object_store.client import ObjectStore
from artifacts.object_store.probe import wait_for_store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from pathlib import Path

    import asyncpg

    from artifacts.config import StoreConfig
    from dataplane.tenants import DataPlane

OBJECTS = 1_500
REQUEST = re.compile(rb"^(GET|HEAD|PUT|POST|DELETE) (\S+) HTTP/1\.1\r$", re.MULTILINE)


class CountingProxy:
    """A TCP proxy before the object store that notes the requests which pass it."""

    def __init__(self, store: StoreConfig) -> None:
        self._store = urlsplit(store.endpoint)
        self._connections: set[asyncio.Task[None]] = set()
        self.requests: list[tuple[str, str]] = []

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[str]:
        """Yield the proxy's address."""
        async with await asyncio.start_server(self._accept, "127.0.0.1", 0) as server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            for connection in self._connections:  # the client may keep some open
                connection.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    @property
    def listed_prefixes(self) -> list[str]:
        """The prefixes of the LIST requests."""
        queries = [parse_qs(urlsplit(target).query) for _, target in self.requests]
        return [query["prefix"][0] for query in queries if "list-type" in query]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_store, to_store = await asyncio.open_connection(self._store.hostname, self._store.port)
        try:
            await asyncio.gather(
                self._pass(reader, to_store, count=True), self._pass(from_store, writer)
            )
        finally:
            for end in (to_store, writer):
                end.close()
                with suppress(ConnectionError):
                    await end.wait_closed()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, count: bool = False
    ) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                if count:
                    found = REQUEST.findall(data)
                    self.requests += [
                        (method.decode(), target.decode()) for method, target in found
                    ]
                writer.write(data)
                await writer.drain()
        writer.close()


@pytest.fixture
def folder(objects: Path) -> Iterator[Path]:
    """The folder of acme's objects of a run that has no rows."""
    run = objects / "storage" / "acme" / str(uuid4())
    yield run / "draft" / "artifacts"
    shutil.rmtree(run)


async def test_a_start_makes_no_more_requests_with_many_objects_than_with_few(
    store: StoreConfig, data: DataPlane, registry: asyncpg.Connection, folder: Path
) -> None:
    few = await _start(store, data, registry)
    _fill(folder)
    many = await _start(store, data, registry)

    assert len(many.requests) == len(few.requests) <= 30
    assert [prefix.startswith("_probe/") for prefix in many.listed_prefixes] == [True]
    due = await registry.fetch(
        "SELECT due_at - now() AS due FROM artifacts_pending_work WHERE kind = 'sweep'"
    )
    assert len(due) == 2
    assert all(timedelta() < row["due"] <= timedelta(hours=1) for row in due)


def _fill(folder: Path) -> None:
    folder.mkdir(parents=True)
    for number in range(OBJECTS):
        (folder / str(number)).write_bytes(b"tea")


async def _start(
    store: StoreConfig, data: DataPlane, registry: asyncpg.Connection
) -> CountingProxy:
    """Do what a process does with the store from its start to its first polls.

    No process has run for two days, so that the sweeps of all tenants are due.
    """
    await registry.execute("DELETE FROM artifacts_pending_work")
    await registry.execute(
        "INSERT INTO artifacts_pending_work"
        " SELECT tenant_id, 'sweep', now() - interval '2 days'"
        " FROM unnest($1::text[]) AS tenant (tenant_id)",
        list(data.directory.active()),
    )
    proxy = CountingProxy(store)
    async with proxy.running() as address, ObjectStore(replace(store, endpoint=address)) as objects:
        await wait_for_store(objects)
        with compose("storage", COLLECTING, data, objects) as service:
            for _ in data.directory.active():
                await service.collector.poll()
    return proxy
