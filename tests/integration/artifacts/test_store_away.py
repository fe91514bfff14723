"""The object store goes away, or stops: calls say so, and nothing wrong is ever visible."""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from tests.integration.artifacts.conftest import COLLECTING
from tests.support.artifacts_client import (
    MEBIBYTE,
    ArtifactsClient,
    acting_for,
    digest_of,
    reason_of,
)
from tests.support.waiting import fewer_run, wait_until

from artifacts.app.small_files import SMALL_BYTES
from artifacts.composition import compose
from artifacts.config import StoreConfig
from artifacts.object_store import client as object_store_client
from artifacts.object_store.client import ObjectStore
from artifacts.object_store.probe import wait_for_store
from interceptor.testing import serve
from nagaya_local.machine import processes
from nagaya_local.machine.ports import free_port
from nagaya_local.machine.running import start
from nagaya_local.parts.s3 import S3Server
from servicekit.errors import Unavailable

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncGenerator
    from pathlib import Path

    import asyncpg
    from tests.support.databases import TenantDatabases

    from dataplane.tenants import DataPlane
    from servicekit.testing import Keys


class OwnStore:
    """An object store of the test's own, which it starts and stops."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "s3"
        self.server = S3Server(self.folder, folder / "keys.json", free_port())
        self._log = folder / "s3.log"

    @property
    def config(self) -> StoreConfig:
        keys = self.server.keys
        return StoreConfig(
            self.server.endpoint, keys.access_key, keys.secret_key, "storage", "us-east-1"
        )

    @asynccontextmanager
    async def up(self) -> AsyncGenerator[subprocess.Popen[bytes]]:
        process = await start(self.server, self._log)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            await processes.stop(process, self.server.stopping)


@pytest.fixture
def own_store(tmp_path: Path) -> OwnStore:
    return OwnStore(tmp_path)


@pytest.fixture
async def client(
    own_store: OwnStore, data: DataPlane, keys: Keys, tenant_databases: TenantDatabases
) -> AsyncGenerator[ArtifactsClient]:
    """The service over the store that goes away."""
    async with ObjectStore(own_store.config) as object_store:
        with compose("storage", COLLECTING, data, object_store) as service:
            async with (
                serve(keys, *service.bindings) as server,
                server.channel(acting_for("acme", keys)) as channel,
            ):
                yield ArtifactsClient(
                    channel, own_store.folder, "acme", await tenant_databases.create_run("acme")
                )


async def test_without_the_store_calls_are_refused_and_with_it_they_go_on(
    own_store: OwnStore, client: ArtifactsClient
) -> None:
    async with own_store.up():
        kept = await client.put_one(b"kept", client.draft("artifacts/kept"))
        announced = await client.create_upload(client.draft("artifacts/large"), b"large")

    async def refusal() -> str | None:
        # What the store was found to be counts for a moment: until then files are put later.
        result = (await client.put((client.draft(f"artifacts/{uuid.uuid4()}"), b"tea")))[0]
        return reason_of(result.status) if result.status.code else None

    assert await wait_until(refusal) == "ERROR_REASON_STORE_UNAVAILABLE"
    for refused in (
        client.send_upload(announced.upload.upload_id, b"large"),
        client.download(kept.path),
        client.copy(kept, client.draft("artifacts/copy")),
    ):
        with pytest.raises(Unavailable) as error:
            await refused
        assert error.value.reason == "ERROR_REASON_STORE_UNAVAILABLE"
    assert (await client.create_upload(client.draft("artifacts/kept"), b"kept")).artifact == kept

    async with own_store.up():
        assert (await client.put_one(b"coffee", client.draft())).digest == digest_of(b"coffee")
        assert (await client.send_upload(announced.upload.upload_id, b"large")).size_bytes == 5
        assert await client.download(kept.path) == b"kept"


async def test_a_start_without_the_store_says_what_it_waits_for(
    own_store: OwnStore, caplog: pytest.LogCaptureFixture
) -> None:
    async with ObjectStore(own_store.config) as object_store:
        waiting = asyncio.create_task(wait_for_store(object_store))
        await wait_until(
            lambda: asyncio.sleep(0, len(caplog.records)), unless=fewer_run((waiting,))
        )
        assert not waiting.done()
        assert vars(caplog.records[0])["waits_for"] == f"S3 at {own_store.server.endpoint}"
        async with own_store.up():
            await waiting


async def test_a_store_that_loses_what_is_cut_off_passes_the_probe_and_keeps_nothing(
    own_store: OwnStore,
) -> None:
    async with own_store.up(), ObjectStore(own_store.config) as object_store:
        assert await wait_for_store(object_store) is False
        assert not [file for file in own_store.folder.rglob("*") if file.is_file()]


async def test_bytes_that_come_late_out_of_a_stopped_store_do_not_stay(
    own_store: OwnStore,
    client: ArtifactsClient,
    database: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(object_store_client, "PUT_SECONDS", 1.0)
    first, second = os.urandom(SMALL_BYTES + 1), os.urandom(2 * SMALL_BYTES)
    async with own_store.up() as process:
        await client.put_one(b"tea", client.draft("artifacts/warm"))
        process.send_signal(signal.SIGSTOP)
        await asyncio.to_thread(os.waitid, os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        refused = (await client.put((client.draft(), first)))[0]
        assert reason_of(refused.status) == "ERROR_REASON_STORE_UNAVAILABLE"
        await database.execute(
            "UPDATE artifact_writes SET renewed_at = renewed_at - interval '1 minute'"
        )
        monkeypatch.undo()
        writing = asyncio.create_task(client.put_one(second, client.draft()))
        await wait_until(
            lambda: database.fetchval(
                "SELECT count(*) FROM artifact_writes WHERE file_path = $1 AND digest = $2",
                client.path(),
                digest_of(second),
            ),
            unless=fewer_run((writing,)),
        )
        process.send_signal(signal.SIGCONT)

        assert (await writing).digest == digest_of(second)
        assert client.on_disk(client.path()).read_bytes() == second
        assert await client.download(client.path()) == second


async def test_a_store_that_dies_in_the_middle_of_an_upload_keeps_none_of_it(
    own_store: OwnStore, client: ArtifactsClient, database: asyncpg.Connection
) -> None:
    body = os.urandom(64 * MEBIBYTE)
    async with own_store.up() as process:
        announced = await client.create_upload(client.draft(), body)
        sending = asyncio.create_task(client.send_upload(announced.upload.upload_id, body))
        await wait_until(
            lambda: asyncio.to_thread(list, own_store.folder.rglob(".rclone_temp_*")),
            unless=fewer_run((sending,)),
            pause=0.001,
        )
        process.kill()
        with pytest.raises(Unavailable) as error:
            await sending
        assert error.value.reason == "ERROR_REASON_STORE_UNAVAILABLE"

    async with own_store.up():
        assert (await client.send_upload(announced.upload.upload_id, body)).digest == digest_of(
            body
        )
        assert client.on_disk(client.path()).read_bytes() == body
