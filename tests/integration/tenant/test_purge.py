"""A purge goes on whatever dies, and leaves nothing in the files of the database server."""

from __future__ import annotations

import asyncio
import json
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING
from unittest.mock import patch

import asyncpg
import pytest
from tests.integration.tenant.harness import (
    Killed,
    publish_both,
    started,
)
from tests.integration.tenant.moves import databases_on
from tests.integration.tenant.purges import (
    certificate,
    ended,
    left_on_server,
    purged,
    rows_about,
    running,
)
from tests.support.stored_text import files_with

from nagaya_local.machine.ports import free_port
from nagaya_local.machine.running import running_from_sync
from nagaya_local.parts.postgres import PostgresServer
from tenant.app.moves import Moves
from tenant.config import ProvisionerAddress
from tenant.deletion.purge import UNDONE
from tenant.domain.operations import Operation, OperationKind, OperationState
from tenant.errors.moves import ReplicaBroken
from tenant.move.replica import Replica
from tenant.store import operation_runs, servers, wal

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from tests.support.tenant_data import MemoryPeers

    from servicekit.testing import Keys
    from tenant.composition import Composition
    from tenant.config import Config
    from tenant.move.locations import Move


STEPS = (
    "operations", "inventory", "runs", "llm-gateway", "artifacts", "database", "files", "wal",
    "look_again", "certificate",
)  # fmt: skip


@pytest.fixture(scope="module")
def postgres(servers_folder: Path, parts_folder: Path) -> Iterator[PostgresServer]:
    """A server for these tests alone: all of its files are read."""
    server = PostgresServer(servers_folder / "of-purges", free_port(), durable=False)
    with running_from_sync(server, parts_folder / "postgres-of-purges.log"):
        yield server


@pytest.fixture
def config(config_with_peers: Config) -> Config:
    return config_with_peers


@pytest.fixture
async def service(service: Composition) -> Composition:
    service.runner.start()
    return service


@pytest.mark.parametrize("step", STEPS)
async def test_a_purge_that_died_after_a_step_is_finished_by_another_process(
    config: Config, peers: MemoryPeers, management: asyncpg.Connection, keys: Keys, step: str
) -> None:
    async with started(config) as service:
        await publish_both(service)
        acme = await service.tenants.create("acme", "r1", "Acme")
        peers.fill("acme")
        await service.deletion.deletion.delete("acme")
        with killed_before_record(step) as killed:
            operation = await service.deletion.deletion.purge("acme", "p1")
            service.runner.start()
            await killed.wait()
            await service.runner.stop()
    async with running(config) as living:
        done = await ended(living, operation)

        assert done.state is OperationState.DONE, done.message
        assert await left_on_server(management, acme.database) == []
        assert await rows_about(management, "acme") == {"operations": 1}
        document = await certificate(living, keys)
        assert {one["found_after"] for one in document["stores"]} == {0}
        if step not in ("operations", "inventory"):
            assert document["stores"][0]["found_before"] == 7


@contextmanager
def killed_before_record(step: str) -> Generator[asyncio.Event]:
    """Kill the runner when a step is done, before that is recorded; yield what tells of it."""
    record, killed = operation_runs.record_step, asyncio.Event()

    async def record_step(*arguments: object, last: bool) -> Operation | None:
        if arguments[2] == step:
            killed.set()
            raise Killed
        return await record(*arguments, last=last)  # pyright: ignore[reportArgumentType]

    with patch.object(operation_runs, "record_step", record_step):
        yield killed


async def test_the_copy_of_a_move_that_failed_goes_with_the_tenant(
    service: Composition, postgres: PostgresServer, second_server: PostgresServer
) -> None:
    acme = await service.tenants.create("acme", "r1", "Acme")
    moves = Moves(service.management, service.operations)
    with patch.object(Replica, "copied", side_effect=ReplicaBroken("acme")):
        failed = await ended(service, await moves.begin("acme", "second", "m1"))
    new = str(failed.notes["database"])
    assert len(await databases_on(second_server, new)) == 10
    assert len(await databases_on(postgres, acme.database.name)) >= 12  # slots, a role to read
    await service.deletion.deletion.delete("acme")

    done = await purged(service)

    assert done.state is OperationState.DONE, done.message
    assert await databases_on(second_server, new) == []
    assert await databases_on(postgres, acme.database.name) == []


async def test_a_cancellation_that_has_failed_is_asked_for_again(
    service: Composition, second_server: PostgresServer
) -> None:
    await service.tenants.create("acme", "r1", "Acme")
    moves = Moves(service.management, service.operations)
    with patch.object(Replica, "copied", side_effect=ReplicaBroken("acme")):
        failed = await ended(service, await moves.begin("acme", "second", "m1"))
    await service.deletion.deletion.delete("acme")
    release, errors = Replica.release, [ReplicaBroken("acme")]

    async def once_broken(replica: Replica, move: Move) -> None:
        if errors:
            raise errors.pop()
        await release(replica, move)

    with patch.object(Replica, "release", once_broken):
        done = await purged(service)

    assert done.state is OperationState.DONE, done.message
    assert errors == []
    assert await databases_on(second_server, str(failed.notes["database"])) == []


async def test_every_kind_that_can_be_cancelled_is_undone_before_a_purge(
    service: Composition,
) -> None:
    of_no_tenant = {OperationKind.ROLLOUT, OperationKind.DRAIN_SERVER}
    cancellable = {kind for kind in OperationKind if service.runner.cancellable(kind)}

    assert cancellable - of_no_tenant == UNDONE


async def test_what_comes_after_the_removal_is_removed_too(
    service: Composition, peers: MemoryPeers, keys: Keys
) -> None:
    await service.tenants.create("acme", "r1", "Acme")
    peers.fill("acme")
    peers.stores["artifacts"].stubborn = 3
    await service.deletion.deletion.delete("acme")

    done = await purged(service)

    assert done.state is OperationState.DONE
    assert {one["found_after"] for one in (await certificate(service, keys))["stores"]} == {0}


@pytest.mark.timeout(300)
async def test_a_canary_in_a_database_is_in_no_file_of_the_server_afterwards(
    service: Composition, postgres: PostgresServer
) -> None:
    canary = f"canary{secrets.token_hex(12)}"
    acme = await service.tenants.create("acme", "r1", "Acme")
    superuser = await asyncpg.connect(postgres.superuser_url(acme.database.name))
    for number in range(200):
        note = f"{canary} {number} {secrets.token_hex(200)}"
        await superuser.execute("INSERT INTO runs (note) VALUES ($1)", note)
    await superuser.execute("CHECKPOINT")
    await superuser.close()
    before = await asyncio.to_thread(_files_with, postgres, canary)
    assert any("base" in name for name in before)
    assert any("pg_wal" in name for name in before)
    await service.deletion.deletion.delete("acme")

    await purged(service)

    assert await asyncio.to_thread(_files_with, postgres, canary) == []


async def test_a_canary_of_a_tenant_that_was_moved_is_in_no_file_of_the_former_server(
    service: Composition,
    postgres: PostgresServer,
    second_server: PostgresServer,
    keys: Keys,
) -> None:
    canary = f"canary{secrets.token_hex(12)}"
    acme = await service.tenants.create("acme", "r1", "Acme")
    superuser = await asyncpg.connect(postgres.superuser_url(acme.database.name))
    await superuser.execute(f"INSERT INTO runs (note) VALUES ('{canary}')")
    await superuser.close()
    move = await Moves(service.management, service.operations).begin("acme", "second", "m1")
    assert (await ended(service, move)).state is OperationState.DONE
    assert await asyncio.to_thread(_files_with, postgres, canary)
    await service.deletion.deletion.delete("acme")

    await purged(service)

    assert await asyncio.to_thread(_files_with, postgres, canary) == []
    assert await asyncio.to_thread(_files_with, second_server, canary) == []
    stores = {one["store"]: one for one in (await certificate(service, keys))["stores"]}
    for server in ("main", "second"):
        log = stores[f"segments of the write-ahead log of the database server {server}"]
        assert (log["found_before"] > 0, log["found_after"], log["unproven"]) == (True, 0, [])


async def test_a_server_that_is_away_is_not_waited_for_and_not_certified(
    service: Composition, config: Config, keys: Keys
) -> None:
    await service.tenants.create("acme", "r1", "Acme")
    nowhere = ProvisionerAddress.parse(f"postgresql://nobody:x@127.0.0.1:{free_port()}/none")
    async with service.management.connection() as connection:
        await servers.set_address(connection, service.keys.ring, "away", nowhere)
    await service.deletion.deletion.delete("acme")
    async with service.management.connection() as connection:  # the tenant was there once
        await connection.execute(
            """
            INSERT INTO operations (kind, tenant_id, request_id, arguments, user_id, state, notes)
            VALUES ('move_tenant', 'acme', 'm1', '{}', 'ada', 'done', $1)
            """,
            json.dumps({"old": {"server_id": "away", "database": "t_old", "manager": "t_old_m"}}),
        )

    done = await purged(service)

    assert done.state is OperationState.DONE, done.message
    stores = {one["store"]: one for one in (await certificate(service, keys))["stores"]}
    log = stores["segments of the write-ahead log of the database server away"]
    assert (log["found_before"], log["found_after"]) == (None, None)
    assert "could not be looked at" in log["unproven"][0]


async def test_segments_that_were_kept_for_a_while_are_written_over_too(
    postgres: PostgresServer,
) -> None:
    canary = f"canary{secrets.token_hex(12)}"
    superuser = await asyncpg.connect(postgres.superuser_url())
    await superuser.execute("ALTER SYSTEM SET min_wal_size = '256MB'")  # renames, and removes none
    await superuser.execute("SELECT pg_reload_conf()")
    await superuser.execute("SELECT pg_create_physical_replication_slot('kept', true)")
    for _ in range(3):
        await superuser.execute("SELECT pg_logical_emit_message(false, 'test', $1::text)", canary)
        await superuser.execute("SELECT pg_switch_wal()")
    assert await asyncio.to_thread(_files_with, postgres, canary)
    released = False

    async def release(done: int, total: int) -> None:
        nonlocal released
        if done == total and not released:
            released = True
            await superuser.execute("SELECT pg_drop_replication_slot('kept')")
            await superuser.execute("CHECKPOINT")

    try:
        await wal.overwrite(superuser, release)
        assert released
        assert await asyncio.to_thread(_files_with, postgres, canary) == []
    finally:
        await superuser.execute("ALTER SYSTEM RESET min_wal_size")
        await superuser.execute("SELECT pg_reload_conf()")
        await superuser.close()


def _files_with(postgres: PostgresServer, text: str) -> list[str]:
    (files,) = files_with([postgres.data], text)
    return files
