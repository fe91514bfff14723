"""When the collector visits which tenant."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError

from tests.integration.artifacts.conftest import COLLECTING
from tests.integration.artifacts.leftovers import make_old, orphan, unfinished_write

from artifacts.app import collector
from artifacts.app.collector import COLLECTION, SWEEP, Collector, pending_work_table
from artifacts.domain.keys import BucketLayout

if TYPE_CHECKING:
    import asyncpg
    import pytest
    from tests.support.artifacts_client import ArtifactsClient

    from artifacts.composition import Composition
    from artifacts.object_store.client import ObjectStore
    from dataplane.tenants import DataPlane


async def test_a_tenant_is_noted_before_anything_is_written_there(
    client: ArtifactsClient,
    service: Composition,
    registry: asyncpg.Connection,
    database: asyncpg.Connection,
) -> None:
    await registry.execute("DELETE FROM artifacts_pending_work")
    await client.create_upload(client.draft(), b"tea")

    due = await registry.fetchval(
        "SELECT due_at > now() FROM artifacts_pending_work"
        " WHERE tenant_id = 'acme' AND kind = 'collect'"
    )
    assert due is True


async def test_due_tenants_are_visited_and_those_with_nothing_left_are_visited_next_day(
    client: ArtifactsClient,
    service: Composition,
    object_store: ObjectStore,
    registry: asyncpg.Connection,
    database: asyncpg.Connection,
) -> None:
    path = await orphan(object_store, client)
    await unfinished_write(database, client, path, age="3 hours")
    await database.execute("DELETE FROM uploads")
    await database.execute("DELETE FROM artifact_writes WHERE file_path <> $1", path)
    await registry.execute("DELETE FROM artifacts_pending_work")
    await _note(registry, noted_seconds_ago=1)

    await service.collector.poll()
    assert not client.on_disk(path).exists()
    due_in = await _due_in(registry)
    assert due_in is not None
    assert 30 < due_in < 3600, "a note so young may stand for a write to come"

    await registry.execute("DELETE FROM artifacts_pending_work")
    settled = pending_work_table(COLLECTION, COLLECTING.grace_seconds).settle_seconds
    await _note(registry, noted_seconds_ago=int(settled) + 60)
    await service.collector.poll()
    due_in = await _due_in(registry)
    assert due_in is not None
    assert due_in > 80_000


async def test_a_tenant_with_an_unfinished_upload_is_visited_again_after_the_grace_period(
    client: ArtifactsClient, service: Composition, registry: asyncpg.Connection
) -> None:
    await client.create_upload(client.draft("artifacts/late"), b"tea")
    await registry.execute("DELETE FROM artifacts_pending_work")
    await _note(registry, noted_seconds_ago=86_400)
    await service.collector.poll()

    due_in = await _due_in(registry)
    assert due_in is not None
    assert due_in <= COLLECTING.grace_seconds


async def test_two_collectors_do_not_visit_one_tenant_at_once(
    service: Composition, registry: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    visits: list[str] = []

    async def collect(tenant_id: str) -> int:
        visits.append(tenant_id)
        return 0

    monkeypatch.setattr(service.collector, "collect", collect)
    await registry.execute("DELETE FROM artifacts_pending_work")
    await _note(registry, noted_seconds_ago=1)
    await asyncio.gather(*(service.collector.poll() for _ in range(5)))

    assert visits == ["acme"]


async def test_a_due_sweep_removes_objects_without_rows_and_comes_again_next_day(
    client: ArtifactsClient,
    data: DataPlane,
    object_store: ObjectStore,
    registry: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(collector, "START_SECONDS", 0.0)
    path = await orphan(object_store, client, "artifacts/forgotten")
    make_old(client, path)
    await asyncio.sleep(0.2)  # the store looks at its folders anew after 100 ms
    await registry.execute("DELETE FROM artifacts_pending_work")
    await _note(registry, kind=SWEEP, noted_seconds_ago=86_400)
    await Collector(data, BucketLayout("storage"), object_store, COLLECTING).poll()

    assert not client.on_disk(path).exists()
    due_in = await _due_in(registry, SWEEP)
    assert due_in is not None
    assert due_in > 80_000


async def test_an_answer_that_is_no_list_does_not_end_the_collector(
    data: DataPlane,
    object_store: ObjectStore,
    registry: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    often = replace(COLLECTING, interval_seconds=0.01)
    failing = Collector(data, BucketLayout("storage"), object_store, often)
    polls, polled_again = 0, asyncio.Event()

    async def collect(_: str) -> int:
        nonlocal polls
        polls += 1
        if polls == 1:
            raise ParseError("no element found: line 1, column 0")  # minio does not convert it
        polled_again.set()
        return 0

    monkeypatch.setattr(failing, "collect", collect)
    await registry.execute("DELETE FROM artifacts_pending_work")
    await _note(registry, noted_seconds_ago=1)
    failing.start()
    try:
        async with asyncio.timeout(60):
            while not polled_again.is_set():
                await _make_due(registry)
                await asyncio.sleep(0.05)
    finally:
        await failing.stop()


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


async def _note(
    registry: asyncpg.Connection, *, kind: str = COLLECTION, noted_seconds_ago: int
) -> None:
    await registry.execute(
        "INSERT INTO artifacts_pending_work VALUES"
        " ('acme', $1, now() - interval '1 s', now() - make_interval(secs => $2))",
        kind,
        noted_seconds_ago,
    )


async def _make_due(registry: asyncpg.Connection) -> None:
    await registry.execute(
        "UPDATE artifacts_pending_work SET due_at = now() WHERE kind = 'collect'"
    )


async def _due_in(registry: asyncpg.Connection, kind: str = COLLECTION) -> float | None:
    """Return after how many seconds acme is visited again; None for not at all."""
    return await registry.fetchval(
        "SELECT extract(epoch FROM due_at - now())::float FROM artifacts_pending_work"
        " WHERE tenant_id = 'acme' AND kind = $1",
        kind,
    )
