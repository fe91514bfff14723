"""Drains that move a server's tenants away, also after moves that failed or were cancelled."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest
from tests.support.waiting import wait_until

from nagaya.tenant.v1 import server_service_pb2, server_service_pb2_grpc
from nagaya_local.machine.ports import free_port
from nagaya_local.machine.running import running_from_sync
from nagaya_local.parts.postgres import PostgresServer
from tenant.app.moves import Moves
from tenant.config import ProvisionerAddress
from tenant.domain.operations import OperationState
from tenant.errors import ServerUnavailable, ServerUnsuitable
from tenant.errors.moves import ServerNotDrained
from tenant.move import saga
from tenant.store import operations as table
from tenant.store import servers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import asyncpg

    from interceptor.testing import RunningServer
    from tenant.composition import Composition
    from tenant.domain.operations import Operation


async def test_a_drained_server_s_tenants_are_moved_where_their_labels_allow_and_it_goes_on(
    service: Composition,
    server: RunningServer,
    second_server: PostgresServer,
    management: asyncpg.Connection,
) -> None:
    labels = "UPDATE db_servers SET labels = $2 WHERE id = $1"
    await management.execute(labels, "main", '{"region": "eu"}')
    await service.tenants.create("acme", "r1", "Acme", {"server": "main"})
    await service.tenants.create("globex", "r2", "Globex", {"region": "eu"})
    stub = server_service_pb2_grpc.ServerServiceStub(server.channel())
    request = server_service_pb2.DrainServerRequest(server_id="main", move_tenants=True)
    service.runner.start()

    begun = (await stub.DrainServer(request)).operation
    failed = await over(service, begun.operation_id)

    assert failed.reason == ServerNotDrained.reason
    assert "1 tenants are left on the server main: globex" in failed.message
    await management.execute(labels, "second", '{"region": "eu"}')
    again = (await stub.DrainServer(request)).operation
    assert again.operation_id == begun.operation_id
    done = await over(service, begun.operation_id)
    assert (done.state, done.result) == (OperationState.DONE, {"moved_tenants": "2"})
    rows = await management.fetch("SELECT server_id, is_active FROM tenants")
    assert [tuple(row) for row in rows] == [("second", True)] * 2


async def test_a_drain_awaits_a_move_that_somebody_else_began(
    service: Composition,
    server: RunningServer,
    second_server: PostgresServer,
    management: asyncpg.Connection,
) -> None:
    await service.tenants.create("acme", "r1", "Acme")
    await Moves(service.management, service.operations).begin("acme", "second", "m1")
    stub = server_service_pb2_grpc.ServerServiceStub(server.channel())
    request = server_service_pb2.DrainServerRequest(server_id="main", move_tenants=True)
    drain = (await stub.DrainServer(request)).operation
    service.runner.start()

    done = await over(service, drain.operation_id)

    assert (done.state, done.result) == (OperationState.DONE, {"moved_tenants": "0"})
    sql = "SELECT request_id FROM operations WHERE kind = 'move_tenant'"
    assert await management.fetchval(sql) == "m1"


async def test_a_drain_that_runs_again_begins_a_cancelled_move_anew(
    service: Composition,
    server: RunningServer,
    second_server: PostgresServer,
    management: asyncpg.Connection,
) -> None:
    await service.tenants.create("acme", "r1", "Acme")
    stub = server_service_pb2_grpc.ServerServiceStub(server.channel())
    request = server_service_pb2.DrainServerRequest(server_id="main", move_tenants=True)
    undone = (await stub.DrainServer(request)).operation
    undo = server_service_pb2.DrainServerRequest(server_id="main", undo=True)
    await stub.DrainServer(undo)
    drain = (await stub.DrainServer(request)).operation
    assert drain.operation_id != undone.operation_id

    async def moving() -> str | None:
        sql = "SELECT id::text FROM operations WHERE kind = 'move_tenant'"
        return await management.fetchval(sql)

    with patch.object(saga, "why_stopped", side_effect=ServerUnavailable("second")):
        service.runner.start()
        move_id = await wait_until(moving)
        async with service.management.transaction() as connection:
            await table.request_cancellation(connection, move_id)
        failed = await over(service, drain.operation_id)
    assert failed.reason == ServerNotDrained.reason

    await stub.DrainServer(request)
    done = await over(service, drain.operation_id)
    assert (done.state, done.result) == (OperationState.DONE, {"moved_tenants": "1"})


async def test_a_tenant_that_somebody_moved_elsewhere_meanwhile_stays_there(
    service: Composition,
    server: RunningServer,
    second_server: PostgresServer,
    third_server: PostgresServer,
    management: asyncpg.Connection,
) -> None:
    """The drain's own move had failed, or waits for its turn while the other one runs."""
    for tenant_id in ("failed", "waiting"):
        await service.tenants.create(tenant_id, tenant_id, tenant_id, {"server": "main"})
    await management.execute("UPDATE db_servers SET max_tenants = 1 WHERE id = 'third'")
    stub = server_service_pb2_grpc.ServerServiceStub(server.channel())
    request = server_service_pb2.DrainServerRequest(server_id="main", move_tenants=True)
    moves = Moves(service.management, service.operations)

    async def begun() -> list[asyncpg.Record] | None:
        sql = "SELECT id, tenant_id, state FROM operations WHERE starts_with(request_id, $1)"
        rows = await management.fetch(sql, f"drain/{drain.operation_id}/")
        return rows if len(rows) == 2 else None

    with patch.object(saga, "why_stopped", side_effect=ServerUnsuitable("second", "x", "y")):
        drain = (await stub.DrainServer(request)).operation
        service.runner.start()
        await over(service, drain.operation_id)
    await service.runner.stop()
    rows = await wait_until(begun)
    assert {row["state"] for row in rows} == {"failed"}
    await management.execute("UPDATE db_servers SET max_tenants = 0 WHERE id = 'third'")
    for row in rows:
        if row["tenant_id"] == "waiting":  # behind the move that is begun now
            async with service.management.transaction() as connection:
                await table.reopen(connection, str(row["id"]))
    for row in rows:
        other = await moves.begin(row["tenant_id"], "third", f"by hand {row['tenant_id']}")
        await service.runner.run_to_end(other)

    await stub.DrainServer(request)
    service.runner.start()
    done = await over(service, drain.operation_id)

    assert (done.state, done.result) == (OperationState.DONE, {"moved_tenants": "0"})
    places = await management.fetch("SELECT server_id FROM tenants")
    assert {row["server_id"] for row in places} == {"third"}

    async def cancelled() -> bool:
        return {row["state"] for row in await begun() or []} == {"cancelled"}

    await wait_until(cancelled, seconds=60)


@pytest.fixture(scope="module")
def third_postgres(servers_folder: Path, parts_folder: Path) -> Iterator[PostgresServer]:
    server = PostgresServer(servers_folder / "third-postgres", free_port(), durable=False)
    with running_from_sync(server, parts_folder / "third-postgres.log"):
        yield server


@pytest.fixture
async def third_server(service: Composition, third_postgres: PostgresServer) -> PostgresServer:
    """One more server, registered as `third`."""
    address = ProvisionerAddress.parse(third_postgres.url)
    async with service.management.connection() as connection:
        await servers.set_address(connection, service.keys.ring, "third", address)
    await service.template.prepare(await service.servers.of("third"))
    return third_postgres


async def over(service: Composition, operation_id: str) -> Operation:
    async def ended() -> Operation | None:
        async with service.management.connection() as connection:
            found = await table.find(connection, operation_id)
        return found if found is not None and found.ended else None

    return await wait_until(ended, seconds=60)
