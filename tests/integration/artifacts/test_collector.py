"""The collector removes what nobody finished, and nothing else."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from tests.integration.artifacts.leftovers import make_old, nothing_left, orphan, unfinished_write
from tests.support.artifacts_client import reason_of

if TYPE_CHECKING:
    import asyncpg
    from tests.support.artifacts_client import ArtifactsClient

    from artifacts.composition import Composition
    from artifacts.object_store.client import ObjectStore


async def test_an_expired_upload_is_removed(
    client: ArtifactsClient, service: Composition, database: asyncpg.Connection
) -> None:
    gone = await client.create_upload(client.draft("artifacts/gone"), b"tea")
    kept = await client.create_upload(client.draft("artifacts/kept"), b"tea")
    await database.execute(
        "UPDATE uploads SET expires_at = now() WHERE upload_id = $1::uuid", gone.upload.upload_id
    )
    await service.collector.collect("acme")

    left = await database.fetch(
        "SELECT upload_id FROM uploads WHERE run_id = $1::uuid", client.run_id
    )
    assert [str(row["upload_id"]) for row in left] == [kept.upload.upload_id]


async def test_the_object_of_a_write_that_nobody_finished_is_removed(
    client: ArtifactsClient,
    service: Composition,
    object_store: ObjectStore,
    database: asyncpg.Connection,
) -> None:
    path = await orphan(object_store, client)
    await unfinished_write(database, client, path, age="3 hours")

    assert await service.collector.collect("acme") == 1
    assert not client.on_disk(path).exists()
    assert not await _writes(database, client)


async def test_a_young_write_is_left_alone(
    client: ArtifactsClient,
    service: Composition,
    object_store: ObjectStore,
    database: asyncpg.Connection,
) -> None:
    path = await orphan(object_store, client)
    await unfinished_write(database, client, path, age="40 seconds")
    await service.collector.collect("acme")

    assert client.on_disk(path).exists()
    assert await _writes(database, client) == 1

    # It would be removed in the midst of another test.
    await database.execute(
        "UPDATE artifact_writes SET renewed_at = now() - interval '3 hours' WHERE file_path = $1",
        path,
    )
    await service.collector.collect("acme")
    assert not client.on_disk(path).exists()


async def test_a_write_whose_file_is_committed_is_ended_and_the_file_stays(
    client: ArtifactsClient, service: Composition, database: asyncpg.Connection
) -> None:
    committed = await client.put_one(b"tea", client.draft())
    await nothing_left(database, client)
    await unfinished_write(database, client, committed.path, age="3 hours")
    await service.collector.collect("acme")

    assert await client.download(committed.path) == b"tea"
    assert not await _writes(database, client)


async def test_what_was_refused_for_its_name_costs_no_file_its_bytes(
    client: ArtifactsClient, service: Composition, database: asyncpg.Connection
) -> None:
    """On a file system one has a file in its way, the other a folder of files."""
    file = await client.put_one(b"tea", client.draft("artifacts/a"))
    inside = await client.put_one(b"tea", client.draft("artifacts/b/c"))
    for name in ("artifacts/a/x", "artifacts/a/x/y", "artifacts/b"):
        refused = (await client.put((client.draft(name), b"coffee")))[0]
        assert reason_of(refused.status) == "ERROR_REASON_NAME_INVALID"
    await database.execute(
        "UPDATE artifact_writes SET renewed_at = now() - interval '3 hours'"
        " WHERE run_id = $1::uuid",
        client.run_id,
    )

    assert await service.collector.collect("acme") == 0
    assert not await _writes(database, client)
    for path in (file.path, inside.path):
        assert await client.download(path) == b"tea"


async def test_a_sweep_finds_objects_that_have_no_row_at_all(
    client: ArtifactsClient,
    service: Composition,
    object_store: ObjectStore,
    database: asyncpg.Connection,
) -> None:
    old = await orphan(object_store, client, "artifacts/old")
    young = await orphan(object_store, client, "artifacts/young")
    committed = await client.put_one(b"tea", client.draft())
    strange = client.on_disk("storage/acme/notes.txt")
    strange.write_bytes(b"not ours")
    for path in (old, committed.path):
        make_old(client, path)
    os.utime(strange, (0, 0))
    await asyncio.sleep(0.2)  # the store looks at its folders anew after 100 ms

    assert await service.collector.sweep("acme") == 1
    await service.collector.collect("acme")
    assert not client.on_disk(old).exists()
    assert client.on_disk(young).exists()
    assert client.on_disk(committed.path).exists()
    assert strange.exists()
    strange.unlink()


async def test_a_sweep_of_one_tenant_leaves_the_others_alone(
    client: ArtifactsClient,
    other_tenant: ArtifactsClient,
    service: Composition,
    object_store: ObjectStore,
) -> None:
    theirs = await orphan(object_store, other_tenant)
    make_old(other_tenant, theirs)
    await asyncio.sleep(0.2)  # the store looks at its folders anew after 100 ms
    await service.collector.sweep("acme")
    await service.collector.collect("acme")

    assert other_tenant.on_disk(theirs).exists()


async def test_writers_and_the_collector_together_lose_nothing(
    client: ArtifactsClient,
    service: Composition,
    object_store: ObjectStore,
    database: asyncpg.Connection,
) -> None:
    """Each path has an orphan that the collector is about to remove when its file is written."""
    paths = [await orphan(object_store, client, f"artifacts/{n}") for n in range(40)]
    for path in paths:
        await unfinished_write(database, client, path, age="3 hours", settled=True)
    bodies = [os.urandom(1000) for _ in paths]
    puts = [client.put_one(body, client.draft(f"artifacts/{n}")) for n, body in enumerate(bodies)]
    await asyncio.gather(*puts[:20], *(service.collector.collect("acme") for _ in range(4)))
    await asyncio.gather(*puts[20:], *(service.collector.collect("acme") for _ in range(4)))

    for path, body in zip(paths, bodies, strict=True):
        assert client.on_disk(path).read_bytes() == body
        assert await client.download(path) == body


async def _writes(database: asyncpg.Connection, client: ArtifactsClient) -> int:
    return int(
        await database.fetchval(
            "SELECT count(*) FROM artifact_writes WHERE run_id = $1::uuid", client.run_id
        )
    )
