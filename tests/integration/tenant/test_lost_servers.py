"""A server that never comes back: nobody waits for it once that is said, whatever has begun."""

from __future__ import annotations

import uuid
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING
from unittest.mock import patch

import asyncpg
import pytest
from tests.integration.tenant.calls import servers as server_stub
from tests.integration.tenant.harness import started
from tests.integration.tenant.moves import databases_on
from tests.integration.tenant.purges import certificate, ended, purged
from tests.integration.tenant.test_unregistration import unregister
from tests.support.tenant_rows import content, fill
from tests.support.waiting import wait_until

from interceptor.testing import serve
from nagaya.tenant.v1 import backup_service_pb2, server_pb2
from nagaya.tenant.v1 import server_service_pb2 as pb
from nagaya_local.machine.ports import free_port
from servicekit.errors import Conflict, InvalidInput
from tenant.app.moves import Moves
from tenant.config import ProvisionerAddress
from tenant.domain.operations import OperationState
from tenant.domain.tenants import TenantState
from tenant.errors import ServerUnavailable
from tenant.errors.moves import ServerLost
from tenant.move.replica import Replica
from tenant.store import operations, servers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from tests.integration.tenant.backup_stack import BackupStack

    from interceptor.testing import RunningServer
    from nagaya_local.parts.postgres import PostgresServer
    from servicekit.testing import Keys
    from tenant.composition import Composition
    from tenant.config import Config
    from tenant.domain.databases import Database
    from tenant.domain.operations import Operation


async def place(service: Composition, postgres: PostgresServer, port: int | None = None) -> None:
    """Register the server as `second`; at another port it is away."""
    address = ProvisionerAddress.parse(postgres.url)
    if port is not None:
        address = replace(address, port=port)
    async with service.management.connection() as connection:
        await servers.set_address(connection, service.keys.ring, "second", address)


async def say_lost(server: RunningServer, server_id: str = "second") -> server_pb2.Server:
    request = pb.DrainServerRequest(server_id=server_id, lost=True)
    return (await server_stub(server).DrainServer(request)).server


async def waits(service: Composition, operation_id: str) -> None:
    """Return once an operation waits for a server."""

    async def is_stuck() -> bool:
        async with service.management.connection() as connection:
            found = await operations.find(connection, operation_id)
        assert found is not None
        return "cannot be reached" in found.stuck_reason

    await wait_until(is_stuck, seconds=60)


async def hurry(service: Composition, operation: Operation) -> Operation:
    """Return an operation once it has ended, without the pauses between its attempts."""
    async with service.management.connection() as connection:
        await connection.execute("UPDATE operations SET due_at = now()")
    service.operations.run(operation.operation_id)
    return await ended(service, operation)


async def drop(postgres: PostgresServer, database: Database) -> None:
    superuser = await asyncpg.connect(postgres.superuser_url())
    await superuser.execute(f'DROP DATABASE "{database.name}" WITH (FORCE)')
    await superuser.close()


@asynccontextmanager
async def tenant_on_lost_server(
    stack: BackupStack, second: PostgresServer
) -> AsyncGenerator[tuple[str, str, object]]:
    """Yield a tenant whose server is away, its backup, and what it had."""
    service, tenant_id = stack.service, f"acme-{uuid.uuid4().hex[:8]}"
    await place(service, second)
    await service.template.prepare(await service.servers.of("second"))
    labels = {"server": "second"}
    acme = await service.tenants.create(tenant_id, str(uuid.uuid4()), "Acme", labels)
    own = await asyncpg.connect(second.superuser_url(acme.database.name))
    for key, body in (await fill(own, tenant_id)).items():
        path = stack.objects / tenant_id / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    await own.execute("SELECT audit_chain(1000)")
    before = await content(own, without=("schema_migrations", "tenant_identity"))
    await own.close()
    backup_id = await stack.back_up(tenant_id)
    await place(service, second, free_port())
    yield tenant_id, backup_id, before
    await drop(second, acme.database)


@pytest.mark.parametrize("said_first", [True, False])
async def test_a_tenant_is_restored_elsewhere_and_its_lost_server_unregistered(
    stack: BackupStack, second_postgres: PostgresServer, keys: Keys, *, said_first: bool
) -> None:
    service = stack.service
    async with (
        tenant_on_lost_server(stack, second_postgres) as (tenant_id, backup_id, before),
        serve(keys, *service.bindings) as server,
    ):
        if said_first:
            lost = await say_lost(server)
            assert lost.state == server_pb2.SERVER_STATE_LOST
        request = backup_service_pb2.RestoreBackupRequest(
            tenant_id=tenant_id, backup_id=backup_id, request_id="r", server_id="main"
        )
        begun = (await stack.backups.RestoreBackup(request)).operation
        if not said_first:
            await waits(service, begun.operation_id)
            await say_lost(server)
            async with service.management.connection() as connection:
                await connection.execute("UPDATE operations SET due_at = now()")
        await stack.done(begun.operation_id)

        tenant = await stack.tenant(tenant_id)
        assert (tenant.state, tenant.server_id) == (TenantState.ACTIVE, "main")
        assert await stack.content(tenant_id) == before
        await unregister(server)


async def test_a_restoration_that_waits_for_a_lost_server_can_be_cancelled(
    stack: BackupStack, second_postgres: PostgresServer, keys: Keys
) -> None:
    service = stack.service
    async with (
        tenant_on_lost_server(stack, second_postgres) as (tenant_id, backup_id, _),
        serve(keys, *service.bindings) as server,
    ):
        request = backup_service_pb2.RestoreBackupRequest(
            tenant_id=tenant_id, backup_id=backup_id, request_id="r", server_id="main"
        )
        begun = (await stack.backups.RestoreBackup(request)).operation
        await waits(service, begun.operation_id)
        async with service.management.transaction() as connection:
            cancelled = await operations.request_cancellation(connection, begun.operation_id)
        assert cancelled is not None
        await say_lost(server)

        over = await hurry(service, cancelled)

        assert over.state is OperationState.CANCELLED
        assert await databases_on(stack.postgres, str(over.notes["database"])) == []
        again = await stack.restore(tenant_id, backup_id)
        assert again.reason == "ERROR_REASON_SERVER_LOST"


@pytest.fixture
def config(config_with_peers: Config) -> Config:
    return config_with_peers


@pytest.fixture
async def running(service: Composition) -> AsyncIterator[Composition]:
    service.runner.start()
    yield service
    await service.runner.stop()


@pytest.mark.parametrize("lost", ["the new server", "the old server"])
async def test_a_move_whose_server_is_lost_ends_and_leaves_nothing_on_the_other(
    running: Composition,
    server: RunningServer,
    postgres: PostgresServer,
    second_server: PostgresServer,
    lost: str,
) -> None:
    at, target = ("main", "second") if lost == "the new server" else ("second", "main")
    acme = await running.tenants.create("acme", "r1", "Acme", {"server": at})
    moves, living = Moves(running.management, running.operations), postgres

    with patch.object(Replica, "copied", side_effect=ServerUnavailable("second")):
        move = await moves.begin("acme", target, "m1")
        await waits(running, move.operation_id)
        await place(running, second_server, free_port())
    if lost == "the new server":
        await end_replication(second_server, move.operation_id, running)
    await say_lost(server)
    failed = await hurry(running, move)
    assert failed.reason == "ERROR_REASON_SERVER_LOST"
    async with running.management.transaction() as connection:
        await operations.request_cancellation(connection, move.operation_id)
    over = await hurry(running, move)

    assert over.state is OperationState.CANCELLED
    new = str(over.notes["database"])
    on_living = await databases_on(living, acme.database.name)
    if lost == "the new server":
        assert len(on_living) == 10  # the database and its roles; no slot, no role to read
        await running.tenants.suspend("acme")
        await unregister(server)
        await drop_left(second_server, new)
    else:
        assert await databases_on(living, new) == []
        await drop_left(second_server, acme.database.name)


async def end_replication(
    postgres: PostgresServer, operation_id: str, service: Composition
) -> None:
    """Let go of the slot on the other server, as a server does that is gone."""
    async with service.management.connection() as connection:
        move = await operations.find(connection, operation_id)
    assert move is not None
    superuser = await asyncpg.connect(postgres.superuser_url(str(move.notes["database"])))
    await superuser.execute("ALTER SUBSCRIPTION nagaya_move DISABLE")
    await superuser.close()


async def drop_left(postgres: PostgresServer, name: str) -> None:
    """Remove what a test has left on the server that others use too."""
    superuser = await asyncpg.connect(postgres.superuser_url(name))
    if await superuser.fetchval(
        "SELECT count(*) FROM pg_subscription WHERE subname = 'nagaya_move'"
    ):
        await superuser.execute("ALTER SUBSCRIPTION nagaya_move SET (slot_name = NONE)")
        await superuser.execute("DROP SUBSCRIPTION nagaya_move")
    await superuser.close()
    superuser = await asyncpg.connect(postgres.superuser_url())
    await superuser.execute(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = $1",
        name,
    )
    await superuser.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    await superuser.close()


async def test_a_tenant_of_a_lost_server_is_purged_and_its_certificate_claims_nothing_of_it(
    running: Composition, server: RunningServer, second_server: PostgresServer, keys: Keys
) -> None:
    acme = await running.tenants.create("acme", "r1", "Acme", {"server": "second"})
    await place(running, second_server, free_port())
    await say_lost(server)

    await running.deletion.deletion.delete("acme")
    done = await purged(running)

    assert done.state is OperationState.DONE, done.message
    stores = (await certificate(running, keys))["stores"]
    of_lost = [one for one in stores if "database server second" in one["store"]]
    assert len(of_lost) == 3
    assert {(one["found_before"], one["found_after"]) for one in of_lost} == {(None, None)}
    assert all("lost for good" in one["unproven"][0] for one in of_lost)
    await unregister(server)
    await drop(second_server, acme.database)


async def test_what_a_lost_server_has_counts_again_once_it_is_back(
    running: Composition, server: RunningServer, second_server: PostgresServer, config: Config
) -> None:
    await running.tenants.create("acme", "r1", "Acme", {"server": "second"})
    await place(running, second_server, free_port())
    await say_lost(server)
    await running.tenants.suspend("acme")
    with pytest.raises(ServerLost):
        await running.tenants.resume("acme")
    async with started(config) as replica:  # it starts without it
        _, unchecked = await replica.deletion.repair.run((), dry_run=True)
    assert unchecked == ["the database server second is lost for good"]
    await place(running, second_server)

    await server_stub(server).DrainServer(pb.DrainServerRequest(server_id="second", undo=True))
    async with started(config):
        pass  # as it starts, the service closes what is to be closed

    resumed = await running.tenants.resume("acme")
    assert resumed.state is TenantState.ACTIVE


async def test_main_is_never_lost_and_only_one_thing_is_said_at_once(
    running: Composition, server: RunningServer
) -> None:
    with pytest.raises(Conflict) as main:
        await say_lost(server, "main")
    assert main.value.reason == "ERROR_REASON_SERVER_IN_USE"
    for other in ("undo", "move_tenants"):
        request = pb.DrainServerRequest(server_id="second", lost=True, **{other: True})
        with pytest.raises(InvalidInput):
            await server_stub(server).DrainServer(request)
