"""Moves that wait, break off or are cancelled: the tenant works on, and nothing is left."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast
from unittest.mock import patch

import asyncpg
import pytest
from tests.integration.tenant.moves import databases_on, logged
from tests.integration.tenant.sagas import find
from tests.support.waiting import wait_until

from dataplane import audit
from nagaya.tenant.v1 import server_service_pb2, server_service_pb2_grpc
from tenant.app.moves import Moves
from tenant.domain.operations import RESULT, OperationState
from tenant.errors import OperationFailed, ServerUnavailable, TenantNotReady
from tenant.errors.moves import ServerNotDrained
from tenant.move.replica import Replica
from tenant.move.saga import TenantMove
from tenant.provisioning import Provisioning
from tenant.store import operations as table

if TYPE_CHECKING:
    from interceptor.testing import RunningServer
    from nagaya_local.parts.postgres import PostgresServer
    from tenant.composition import Composition
    from tenant.domain.operations import Operation
    from tenant.move.locations import Location


async def begun(service: Composition) -> Operation:
    return await Moves(service.management, service.operations).begin("acme", "second", "m1")


async def copied_only(service: Composition, operation: Operation) -> None:
    """Run a move until its copy follows, and then the new server is away."""
    away = ServerUnavailable("second")
    with patch.object(Replica, "copied", side_effect=away), pytest.raises(ServerUnavailable):
        await service.runner.run_to_end(operation)


async def break_copy(service: Composition, operation: Operation, server: PostgresServer) -> None:
    """Stop the subscription, as an error of it does."""
    found = await find(service, operation)
    new = await asyncpg.connect(server.superuser_url(str(found.notes["database"])))
    await new.execute("ALTER SUBSCRIPTION nagaya_move DISABLE")
    await new.close()


async def again(service: Composition, operation: Operation) -> Operation:
    """Run an operation that waits, at once."""
    async with service.management.transaction() as connection:
        await table.reopen(connection, operation.operation_id)
    async with asyncio.timeout(60):
        return await service.runner.run_to_end(operation)


async def test_while_the_switch_cannot_be_done_the_old_database_is_open(
    service: Composition, second_server: PostgresServer
) -> None:
    acme = await service.tenants.create("acme", "r1", "Acme")
    operation = await begun(service)
    await copied_only(service, operation)
    await service.provisioning.close("main", acme.database, wholly=False)  # by one that was killed
    async with service.management.transaction() as connection:
        await table.reopen(connection, operation.operation_id)
    away = ServerUnavailable("second")
    with (
        patch.object(Provisioning, "set_passwords", side_effect=away),
        pytest.raises(ServerUnavailable),
    ):
        await service.runner.run_to_end(operation)

    async with service.tenant_pools.transaction("acme") as connection:
        await audit.append(connection, "note", "run", "meanwhile")
    await again(service, operation)
    assert await logged(service) == ["meanwhile"]


async def test_a_copy_that_broke_off_is_made_anew(
    service: Composition, second_server: PostgresServer
) -> None:
    await service.tenants.create("acme", "r1", "Acme")
    operation = await begun(service)
    await copied_only(service, operation)
    await break_copy(service, operation, second_server)

    done = await again(service, operation)

    assert cast("dict[str, str]", done.notes[RESULT])["way"] == "logical replication"


async def test_cancelled_while_the_new_server_is_away_the_old_one_keeps_nothing_for_it(
    service: Composition, postgres: PostgresServer, second_server: PostgresServer
) -> None:
    acme = await service.tenants.create("acme", "r1", "Acme")
    before = await databases_on(postgres, acme.database.name)
    operation = await begun(service)
    await copied_only(service, operation)
    await break_copy(service, operation, second_server)
    assert len(await databases_on(postgres, acme.database.name)) >= len(before) + 2
    async with service.management.transaction() as connection:
        await table.request_cancellation(connection, operation.operation_id)
    made = TenantMove._made  # pyright: ignore[reportPrivateUsage]

    async def away(move: TenantMove, location: Location) -> bool:
        if location.server_id == "second":
            raise ServerUnavailable("second")
        return await made(move, location)

    with patch.object(TenantMove, "_made", away), pytest.raises(ServerUnavailable):
        await service.runner.run_to_end(operation)
    assert sorted(await databases_on(postgres, acme.database.name)) == sorted(before)

    with pytest.raises(OperationFailed):  # it is cancelled
        await again(service, operation)
    new = str((await find(service, operation)).notes["database"])
    assert await databases_on(second_server, new) == []
    assert await logged(service) == []


async def test_a_tenant_suspended_while_its_move_waits_is_moved_and_stays_suspended(
    service: Composition, second_server: PostgresServer
) -> None:
    await service.tenants.create("acme", "r1", "Acme")
    async with service.tenant_pools.transaction("acme") as connection:
        await audit.append(connection, "note", "run", "before")
    operation = await begun(service)
    await copied_only(service, operation)
    await service.tenants.suspend("acme")

    await again(service, operation)

    with pytest.raises(TenantNotReady):
        await service.connections.resolve("runs", "acme")
    resumed = await service.tenants.resume("acme")
    assert resumed.server_id == "second"
    assert await logged(service) == ["before"]


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


async def over(service: Composition, operation_id: str) -> Operation:
    async def ended() -> Operation | None:
        async with service.management.connection() as connection:
            found = await table.find(connection, operation_id)
        return found if found is not None and found.ended else None

    return await wait_until(ended, seconds=60)
