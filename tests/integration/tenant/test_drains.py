"""Drains that move a server's tenants away, also after moves that failed or were cancelled."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest.mock import patch

from tests.support.waiting import wait_until

from nagaya.tenant.v1 import server_service_pb2, server_service_pb2_grpc
from tenant.app.moves import Moves
from tenant.domain.operations import OperationState
from tenant.errors import ServerUnavailable
from tenant.errors.moves import ServerNotDrained
from tenant.move import saga
from tenant.store import operations as table

if TYPE_CHECKING:
    import asyncpg

    from interceptor.testing import RunningServer
    from nagaya_local.parts.postgres import PostgresServer
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


async def over(service: Composition, operation_id: str) -> Operation:
    async def ended() -> Operation | None:
        async with service.management.connection() as connection:
            found = await table.find(connection, operation_id)
        return found if found is not None and found.ended else None

    return await wait_until(ended, seconds=60)
