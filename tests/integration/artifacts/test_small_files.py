"""Small files: one statement commits them with their bytes, and the store gets these afterwards."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest
from tests.integration.artifacts.blocking import commits_blocked, someone_waits_for_a_lock
from tests.integration.artifacts.leftovers import nothing_left, unfinished_write
from tests.integration.artifacts.replica import Replica, running_replica
from tests.support.artifacts_client import ArtifactsClient, acting_for, digest_of, reason_of
from tests.support.tcp_proxy import TcpProxy
from tests.support.waiting import wait_until

from artifacts.domain.files import WriteTarget
from artifacts.domain.keys import BucketLayout
from artifacts.store import write_leases
from servicekit.channel import open_channel
from servicekit.errors import DomainError, NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from tests.support.databases import TenantDatabases

    from artifacts.composition import Composition
    from artifacts.config import StoreConfig
    from servicekit.testing import Keys

TEA, COFFEE = b"tea" * 100, b"coffee" * 100


@pytest.fixture
async def proxy(store: StoreConfig) -> AsyncGenerator[TcpProxy]:
    """A proxy before the store of `doomed`."""
    port = urlsplit(store.endpoint).port
    assert port is not None
    async with TcpProxy(port).running() as proxy:
        yield proxy


@pytest.fixture
async def replica(
    proxy: TcpProxy, tenant_databases: TenantDatabases, store: StoreConfig, keys: Keys
) -> AsyncGenerator[Replica]:
    through = replace(store, endpoint=f"http://127.0.0.1:{proxy.port}")
    async with running_replica(tenant_databases, through, keys) as replica:
        yield replica


@pytest.fixture
async def doomed(
    replica: Replica, client: ArtifactsClient, keys: Keys
) -> AsyncGenerator[ArtifactsClient]:
    """The service in another process, which reaches the store through the proxy; the same run."""
    async with open_channel(replica.address, None, acting_for("acme", keys)) as channel:
        yield ArtifactsClient(channel, client.objects, "acme", client.run_id)


async def test_a_kill_before_the_commit_leaves_nothing(
    doomed: ArtifactsClient,
    client: ArtifactsClient,
    replica: Replica,
    database: asyncpg.Connection,
) -> None:
    async with commits_blocked(database):
        await _killed_while_putting(doomed, replica, someone_waits_for_a_lock(database))
    with pytest.raises(NotFound):
        await client.download(client.path())
    assert not client.on_disk(client.path()).exists()
    assert not await _count(database, "artifact_bodies", client)
    assert not await _count(database, "artifact_writes", client)

    await client.put_one(COFFEE, client.draft())
    assert client.on_disk(client.path()).read_bytes() == COFFEE


async def test_a_kill_between_commit_and_put_loses_nothing(
    doomed: ArtifactsClient,
    client: ArtifactsClient,
    replica: Replica,
    proxy: TcpProxy,
    database: asyncpg.Connection,
    service: Composition,
) -> None:
    proxy.break_at(b"PUT ", "silence")
    await _killed_while_putting(doomed, replica, wait_until(_is_broken(proxy)))

    assert not client.on_disk(client.path()).exists()
    assert await client.download(client.path()) == TEA
    await _first_commit_wins(client)
    await _put_by_the_collector(service, database, client)


async def test_a_kill_after_the_put_leaves_nothing_that_the_collector_does_not_remove(
    doomed: ArtifactsClient,
    client: ArtifactsClient,
    replica: Replica,
    database: asyncpg.Connection,
    service: Composition,
) -> None:
    committed = await doomed.put_one(TEA, doomed.draft())
    await replica.kill()

    assert client.on_disk(committed.path).read_bytes() == TEA
    assert await client.download(committed.path) == TEA
    await _first_commit_wins(client)
    await _put_by_the_collector(service, database, client)


async def test_a_store_that_goes_away_after_the_commit_gets_the_file_later(
    doomed: ArtifactsClient,
    client: ArtifactsClient,
    proxy: TcpProxy,
    database: asyncpg.Connection,
    service: Composition,
) -> None:
    proxy.break_at(b"PUT ", times=100)
    committed = await doomed.put_one(TEA, doomed.draft())
    assert proxy.broken >= 2

    assert not client.on_disk(committed.path).exists()
    assert await client.download(committed.path) == TEA
    proxy.break_at(b"", times=100)
    refused = (await doomed.put((doomed.draft("artifacts/next"), TEA)))[0]
    assert reason_of(refused.status) == "ERROR_REASON_STORE_UNAVAILABLE"
    with pytest.raises(NotFound):
        await client.download(client.path("artifacts/next"))
    await _put_by_the_collector(service, database, client)


async def test_a_call_whose_database_goes_away_is_repeated_and_commits_once(
    client: ArtifactsClient, database: asyncpg.Connection
) -> None:
    async with commits_blocked(database):
        putting = asyncio.create_task(client.put((client.draft(), TEA)))
        await someone_waits_for_a_lock(database)
        await database.execute(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        await someone_waits_for_a_lock(database)
        assert not client.on_disk(client.path()).exists()

    assert (await putting)[0].artifact.digest == digest_of(TEA)
    assert client.on_disk(client.path()).read_bytes() == TEA
    await nothing_left(database, client)
    assert not await _count(database, "artifact_writes", client)


@pytest.mark.parametrize("bodies", [(TEA, TEA), (TEA, COFFEE)])
async def test_of_two_processes_at_the_same_paths_the_first_commit_wins(
    doomed: ArtifactsClient,
    client: ArtifactsClient,
    database: asyncpg.Connection,
    bodies: tuple[bytes, bytes],
) -> None:
    names = [f"artifacts/{number}" for number in range(50)]
    results = await asyncio.gather(
        *(
            writer.put((writer.draft(name), body))
            for name in names
            for writer, body in zip((doomed, client), bodies, strict=True)
        )
    )

    await nothing_left(database, client)
    assert not await _count(database, "artifact_writes", client)
    for position, name in enumerate(names):
        outcomes = [result[0] for result in results[2 * position :][:2]]
        won = {outcome.artifact.digest for outcome in outcomes if outcome.HasField("artifact")}
        (winner,) = {body for body in bodies if digest_of(body) in won}
        assert client.on_disk(client.path(name)).read_bytes() == winner
        lost = [reason_of(o.status) for o in outcomes if not o.HasField("artifact")]
        assert lost == ["ERROR_REASON_ARTIFACT_CONFLICT"] * (len({*bodies}) - 1)


async def test_a_file_waits_for_the_lease_of_another_writer(
    client: ArtifactsClient, database: asyncpg.Connection, run_id: str
) -> None:
    """Such as a process of the build before, which knows no other way."""
    layout = BucketLayout("storage")
    target = WriteTarget(layout.key("acme", run_id, "draft", "output.json"), digest_of(COFFEE))
    await unfinished_write(database, client, target.key.path, age="0 seconds")
    putting = asyncio.create_task(client.put_one(TEA, client.draft()))
    done, _ = await asyncio.wait((putting,), timeout=0.5)
    assert not done
    await database.execute(
        "UPDATE artifact_writes SET in_flight = false WHERE file_path = $1", target.key.path
    )

    assert (await putting).digest == digest_of(TEA)
    assert client.on_disk(target.key.path).read_bytes() == TEA


async def test_a_lease_is_not_to_be_had_where_a_small_file_is_being_committed(
    client: ArtifactsClient, tenant_databases: TenantDatabases, database: asyncpg.Connection
) -> None:
    """What a process of the build before does, at the moment at which the file is committed."""
    layout = BucketLayout("storage")
    key = layout.key("acme", client.run_id, "draft", "output.json")
    async with database.transaction():
        await database.execute("SELECT FROM runs WHERE id = $1::uuid FOR UPDATE", client.run_id)
        putting = asyncio.create_task(client.put_one(TEA, client.draft()))
        await someone_waits_for_a_lock(database)
        taking = asyncio.create_task(_take(tenant_databases, WriteTarget(key, digest_of(COFFEE))))
        await someone_waits_for_a_lock(database, 2)

    assert (await putting).digest == digest_of(TEA)
    assert await taking == {}


async def test_an_orphan_of_other_bytes_is_replaced_and_never_read(
    doomed: ArtifactsClient,
    client: ArtifactsClient,
    replica: Replica,
    proxy: TcpProxy,
    database: asyncpg.Connection,
    service: Composition,
) -> None:
    client.on_disk(client.path()).parent.mkdir(parents=True)
    client.on_disk(client.path()).write_bytes(COFFEE[: len(TEA)])
    proxy.break_at(b"PUT ", "silence")
    await _killed_while_putting(doomed, replica, wait_until(_is_broken(proxy)))

    assert await client.download(client.path()) == TEA
    await _put_by_the_collector(service, database, client)


async def test_before_its_migration_has_run_files_are_committed_by_leases(
    client: ArtifactsClient, database: asyncpg.Connection
) -> None:
    await nothing_left(database, client)
    await database.execute("ALTER TABLE artifact_bodies RENAME TO artifact_bodies_to_come")
    try:
        committed = await client.put_one(TEA, client.draft())
        assert await client.download(committed.path) == TEA
        client.on_disk(committed.path).unlink()
        with pytest.raises(DomainError) as error:
            await client.download(committed.path)
        assert error.value.reason == "ERROR_REASON_ARTIFACT_CORRUPT"
    finally:
        await database.execute("ALTER TABLE artifact_bodies_to_come RENAME TO artifact_bodies")


async def _killed_while_putting(
    doomed: ArtifactsClient, replica: Replica, moment: Awaitable[object]
) -> None:
    putting = asyncio.create_task(doomed.put((doomed.draft(), TEA)))
    await moment
    await replica.kill()
    putting.cancel()
    await asyncio.wait((putting,))


async def _first_commit_wins(client: ArtifactsClient) -> None:
    assert (await client.put_one(TEA, client.draft())).digest == digest_of(TEA)
    refused = (await client.put((client.draft(), COFFEE)))[0]
    assert reason_of(refused.status) == "ERROR_REASON_ARTIFACT_CONFLICT"


async def _put_by_the_collector(
    service: Composition, database: asyncpg.Connection, client: ArtifactsClient
) -> None:
    await database.execute("UPDATE artifact_bodies SET created_at = now() - interval '1 hour'")
    assert await service.collector.store_left_bodies("acme")
    assert client.on_disk(client.path()).read_bytes() == TEA
    assert await client.download(client.path()) == TEA
    for table in ("artifact_bodies", "artifact_writes"):
        assert not await _count(database, table, client)


async def _take(tenant_databases: TenantDatabases, target: WriteTarget) -> object:
    connection = await asyncpg.connect(tenant_databases.superuser_url("acme"))
    try:
        return await write_leases.take(connection, uuid4(), [target])
    finally:
        await connection.close()


def _is_broken(proxy: TcpProxy) -> Callable[[], Awaitable[bool]]:
    async def broken() -> bool:
        return proxy.broken > 0

    return broken


async def _count(database: asyncpg.Connection, table: str, client: ArtifactsClient) -> int:
    return await database.fetchval(
        f"SELECT count(*) FROM {table} WHERE file_path LIKE $1", client.path("%")
    )
