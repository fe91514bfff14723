from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4
from xml.etree.ElementTree import ParseError

from tests.integration.artifacts.conftest import COLLECTING
from tests.integration.artifacts.house import digest_of, reason_of

from artifacts.app.collector import Collector
from artifacts.domain.keys import BucketLayout
from artifacts.store.pending_work import RECENT_SECONDS

if TYPE_CHECKING:
    import asyncpg
    import pytest
    from tests.integration.artifacts.house import House

    from artifacts.composition import Composition
    from artifacts.object_store.client import ObjectStore
    from dataplane.tenants import DataPlane


async def test_an_expired_upload_is_removed(
    house: House, service: Composition, database: asyncpg.Connection
) -> None:
    gone = await house.announce(house.draft("artifacts/gone"), b"tea")
    kept = await house.announce(house.draft("artifacts/kept"), b"tea")
    await database.execute(
        "UPDATE uploads SET expires_at = now() WHERE upload_id = $1::uuid", gone.upload.upload_id
    )
    await service.collector.collect("acme")

    left = await database.fetch(
        "SELECT upload_id FROM uploads WHERE run_id = $1::uuid", house.run_id
    )
    assert [str(row["upload_id"]) for row in left] == [kept.upload.upload_id]


async def test_the_object_of_a_write_that_nobody_finished_is_removed(
    house: House, service: Composition, object_store: ObjectStore, database: asyncpg.Connection
) -> None:
    path = await _orphan(object_store, house)
    await _unfinished_write(database, house, path, age="3 hours")

    assert await service.collector.collect("acme") == 1
    assert not house.on_disk(path).exists()
    assert not await _writes(database, house)


async def test_a_young_write_is_left_alone(
    house: House, service: Composition, object_store: ObjectStore, database: asyncpg.Connection
) -> None:
    path = await _orphan(object_store, house)
    await _unfinished_write(database, house, path, age="40 seconds")
    await service.collector.collect("acme")

    assert house.on_disk(path).exists()
    assert await _writes(database, house) == 1


async def test_a_write_whose_file_is_committed_is_ended_and_the_file_stays(
    house: House, service: Composition, database: asyncpg.Connection
) -> None:
    committed = await house.put_one(b"tea", house.draft())
    await _unfinished_write(database, house, committed.path, age="3 hours")
    await service.collector.collect("acme")

    assert await house.download(committed.path) == b"tea"
    assert not await _writes(database, house)


async def test_what_was_refused_for_its_name_costs_no_file_its_bytes(
    house: House, service: Composition, database: asyncpg.Connection
) -> None:
    """On a file system one has a file in its way, the other a folder of files."""
    file = await house.put_one(b"tea", house.draft("artifacts/a"))
    inside = await house.put_one(b"tea", house.draft("artifacts/b/c"))
    for name in ("artifacts/a/x", "artifacts/a/x/y", "artifacts/b"):
        refused = (await house.put((house.draft(name), b"coffee")))[0]
        assert reason_of(refused.status) == "ERROR_REASON_NAME_INVALID"
    await database.execute(
        "UPDATE artifact_writes SET renewed_at = now() - interval '3 hours'"
        " WHERE run_id = $1::uuid",
        house.run_id,
    )

    assert await service.collector.collect("acme") == 0
    assert not await _writes(database, house)
    for path in (file.path, inside.path):
        assert await house.download(path) == b"tea"


async def test_a_sweep_finds_objects_that_have_no_row_at_all(
    house: House, service: Composition, object_store: ObjectStore, database: asyncpg.Connection
) -> None:
    old = await _orphan(object_store, house, "artifacts/old")
    young = await _orphan(object_store, house, "artifacts/young")
    committed = await house.put_one(b"tea", house.draft())
    strange = house.on_disk("storage/acme/notes.txt")
    strange.write_bytes(b"not ours")
    for path in (old, committed.path):
        _make_old(house, path)
    os.utime(strange, (0, 0))
    await asyncio.sleep(0.2)  # the store looks at its folders anew after 100 ms

    assert await service.collector.sweep("acme") == 1
    await service.collector.collect("acme")
    assert not house.on_disk(old).exists()
    assert house.on_disk(young).exists()
    assert house.on_disk(committed.path).exists()
    assert strange.exists()
    strange.unlink()


async def test_a_sweep_of_one_tenant_leaves_the_others_alone(
    house: House, neighbour: House, service: Composition, object_store: ObjectStore
) -> None:
    theirs = await _orphan(object_store, neighbour)
    _make_old(neighbour, theirs)
    await asyncio.sleep(0.2)  # the store looks at its folders anew after 100 ms
    await service.collector.sweep("acme")
    await service.collector.collect("acme")

    assert neighbour.on_disk(theirs).exists()


async def test_writers_and_the_collector_together_lose_nothing(
    house: House, service: Composition, object_store: ObjectStore, database: asyncpg.Connection
) -> None:
    """Each path has an orphan that the collector is about to remove when its file is written."""
    paths = [await _orphan(object_store, house, f"artifacts/{n}") for n in range(40)]
    for path in paths:
        await _unfinished_write(database, house, path, age="3 hours", settled=True)
    bodies = [os.urandom(1000) for _ in paths]
    puts = [house.put_one(body, house.draft(f"artifacts/{n}")) for n, body in enumerate(bodies)]
    await asyncio.gather(*puts[:20], *(service.collector.collect("acme") for _ in range(4)))
    await asyncio.gather(*puts[20:], *(service.collector.collect("acme") for _ in range(4)))

    for path, body in zip(paths, bodies, strict=True):
        assert house.on_disk(path).read_bytes() == body
        assert await house.download(path) == body


async def test_a_tenant_is_noted_before_anything_is_written_there(
    house: House, service: Composition, registry: asyncpg.Connection, database: asyncpg.Connection
) -> None:
    await registry.execute("DELETE FROM artifacts_pending_work")
    await house.announce(house.draft(), b"tea")

    due = await registry.fetchval(
        "SELECT due_at > now() FROM artifacts_pending_work"
        " WHERE tenant_id = 'acme' AND kind = 'collect'"
    )
    assert due is True


async def test_due_tenants_are_visited_and_those_with_nothing_left_are_struck_out(
    house: House,
    service: Composition,
    object_store: ObjectStore,
    registry: asyncpg.Connection,
    database: asyncpg.Connection,
) -> None:
    path = await _orphan(object_store, house)
    await _unfinished_write(database, house, path, age="3 hours")
    await database.execute("DELETE FROM uploads")
    await database.execute("DELETE FROM artifact_writes WHERE file_path <> $1", path)
    await registry.execute("DELETE FROM artifacts_pending_work")
    await _note(registry, noted_seconds_ago=1)

    assert await service.collector.poll() == 1
    assert not house.on_disk(path).exists()
    due_in = await _due_in(registry)
    assert due_in is not None, "a note so young may stand for a write to come"
    assert due_in > 30

    await registry.execute("DELETE FROM artifacts_pending_work")
    await _note(registry, noted_seconds_ago=RECENT_SECONDS + 60)
    await service.collector.poll()
    assert await _due_in(registry) is None


async def test_two_collectors_do_not_visit_one_tenant_at_once(
    service: Composition, registry: asyncpg.Connection
) -> None:
    await registry.execute("DELETE FROM artifacts_pending_work")
    await _note(registry, noted_seconds_ago=1)
    claims = await asyncio.gather(*(service.collector._claim() for _ in range(5)))

    assert [claim.tenant_id for claim in claims if claim is not None] == ["acme"]


async def test_an_answer_that_is_no_list_does_not_end_the_collector(
    data: DataPlane, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    often = replace(COLLECTING, interval_seconds=0.01)
    collector = Collector(data, BucketLayout("storage"), object_store, often)
    visits, came_again = 0, asyncio.Event()

    async def poll() -> int:
        nonlocal visits
        visits += 1
        if visits == 1:
            raise ParseError("no element found: line 1, column 0")  # minio does not turn it
        came_again.set()
        return 0

    monkeypatch.setattr(collector, "poll", poll)
    collector.start()
    try:
        async with asyncio.timeout(5):
            await came_again.wait()
    finally:
        await collector.stop()


async def test_every_active_tenant_is_swept_in_time(
    service: Composition, registry: asyncpg.Connection
) -> None:
    await registry.execute("DELETE FROM artifacts_pending_work")
    await service.collector.poll()

    sweeps = await registry.fetch(
        "SELECT tenant_id FROM artifacts_pending_work"
        " WHERE kind = 'sweep' AND due_at BETWEEN now() AND now() + interval '1 day'"
        " ORDER BY tenant_id"
    )
    assert [row["tenant_id"] for row in sweeps] == ["acme", "globex"]


async def _orphan(object_store: ObjectStore, house: House, name: str = "output.json") -> str:
    """Put an object where no row leads; return its path."""
    path = house.path(name)
    await object_store.put(path.removeprefix("storage/"), b"orphan")
    return path


def _make_old(house: House, path: str) -> None:
    long_ago = time.time() - 7200
    os.utime(house.on_disk(path), (long_ago, long_ago))


async def _unfinished_write(
    database: asyncpg.Connection, house: House, path: str, *, age: str, settled: bool = False
) -> None:
    await database.execute(
        f"""
        INSERT INTO artifact_writes (
            file_path, run_id, digest, writer, renewed_at, in_flight, doubtful
        )
        VALUES ($1, $2::uuid, $3, $4, now() - interval '{age}', $5, false)
        """,
        path,
        house.run_id,
        digest_of(b"orphan"),
        uuid4(),
        not settled,
    )


async def _writes(database: asyncpg.Connection, house: House) -> int:
    return int(
        await database.fetchval(
            "SELECT count(*) FROM artifact_writes WHERE run_id = $1::uuid", house.run_id
        )
    )


async def _note(registry: asyncpg.Connection, *, noted_seconds_ago: int) -> None:
    await registry.execute(
        "INSERT INTO artifacts_pending_work VALUES"
        " ('acme', 'collect', now() - interval '1 s', now() - make_interval(secs => $1))",
        noted_seconds_ago,
    )


async def _due_in(registry: asyncpg.Connection) -> float | None:
    """Return after how many seconds acme is visited again; None for not at all."""
    return await registry.fetchval(
        "SELECT extract(epoch FROM due_at - now())::float FROM artifacts_pending_work"
        " WHERE tenant_id = 'acme' AND kind = 'collect'"
    )
