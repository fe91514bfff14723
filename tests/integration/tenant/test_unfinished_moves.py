"""Moves that wait, break off or are cancelled: the tenant works on, and nothing is left."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast
from unittest.mock import patch

import asyncpg
import pytest
from tests.integration.tenant.moves import databases_on, interrupt_drop, logged
from tests.integration.tenant.sagas import find
from tests.support.waiting import wait_until

from dataplane import audit
from tenant.app.moves import Moves
from tenant.domain.operations import RESULT
from tenant.errors import OperationFailed, ServerUnavailable, TenantNotReady
from tenant.errors.moves import ReplicaBroken
from tenant.move import replica
from tenant.move.reopening import reopen
from tenant.move.replica import Replica
from tenant.move.saga import TenantMove
from tenant.provisioning import Provisioning
from tenant.store import operations as table
from tenant.store import replication

if TYPE_CHECKING:
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


async def lose_slot(
    service: Composition, operation: Operation, old: PostgresServer, new: PostgresServer
) -> None:
    """Drop the slot that the copy reads; its subscription stays enabled."""
    name = str((await find(service, operation)).notes["database"])
    follower = await asyncpg.connect(new.superuser_url(name))
    superuser = await asyncpg.connect(old.superuser_url())
    await follower.execute("ALTER SUBSCRIPTION nagaya_move DISABLE")

    async def dropped() -> bool:
        return await replication.drop_slot(superuser, name)

    await wait_until(dropped)
    await follower.execute("ALTER SUBSCRIPTION nagaya_move ENABLE")
    await superuser.close()
    await follower.close()


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


async def test_a_copy_whose_slot_is_lost_is_broken_and_made_anew(
    service: Composition, postgres: PostgresServer, second_server: PostgresServer
) -> None:
    await service.tenants.create("acme", "r1", "Acme")
    operation = await begun(service)
    await copied_only(service, operation)
    await lose_slot(service, operation, postgres, second_server)

    with patch.object(Replica, "follows", return_value=True), pytest.raises(ReplicaBroken):
        await again(service, operation)
    done = await again(service, operation)

    assert cast("dict[str, str]", done.notes[RESULT])["way"] == "logical replication"


async def test_a_copy_that_does_not_hear_the_old_server_waits_without_the_tenant_s_lock(
    service: Composition, postgres: PostgresServer, second_server: PostgresServer
) -> None:
    await service.tenants.create("acme", "r1", "Acme")
    operation = await begun(service)
    await copied_only(service, operation)
    await lose_slot(service, operation, postgres, second_server)

    with (
        patch.object(replication, "slot_is_usable", return_value=True),
        patch.object(replica, "_SILENT_SECONDS", 1.0),
        pytest.raises(ServerUnavailable, match="main cannot be reached from the server second"),
    ):
        await again(service, operation)
    await again(service, operation)


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_move_that_waits_after_its_switch_ends_though_another_one_took_the_tenant_on(
    service: Composition,
    postgres: PostgresServer,
    second_server: PostgresServer,
    *,
    cancelled: bool,
) -> None:
    acme = await service.tenants.create("acme", "r1", "Acme")
    first = await begun(service)
    released = [None, ServerUnavailable("main")]  # before the copy, after the switch
    with patch.object(Replica, "release", side_effect=released), pytest.raises(ServerUnavailable):
        await service.runner.run_to_end(first)
    back = await Moves(service.management, service.operations).begin("acme", "main", "m2")
    await service.runner.run_to_end(back)

    if cancelled:
        async with service.management.transaction() as connection:
            await table.request_cancellation(connection, first.operation_id)
        with pytest.raises(OperationFailed):  # it is cancelled
            await again(service, first)
    else:
        await again(service, first)

    assert await databases_on(postgres, acme.database.name) == []
    new = str((await find(service, first)).notes["database"])
    assert await databases_on(second_server, new) == []
    assert await logged(service) == []


async def test_a_new_database_whose_removal_was_interrupted_is_made_anew(
    service: Composition, second_server: PostgresServer
) -> None:
    await service.tenants.create("acme", "r1", "Acme")
    operation = await begun(service)
    await copied_only(service, operation)
    name = str((await find(service, operation)).notes["database"])
    new = await asyncpg.connect(second_server.superuser_url(name))
    for statement in ("DISABLE", "SET (slot_name = NONE)"):
        await new.execute(f"ALTER SUBSCRIPTION nagaya_move {statement}")
    await new.execute("DROP SUBSCRIPTION nagaya_move")
    await new.close()
    await interrupt_drop(second_server, name)

    done = await again(service, operation)

    assert cast("dict[str, str]", done.notes[RESULT])["way"] == "logical replication"


async def test_a_database_that_was_dropped_is_not_closed_again(service: Composition) -> None:
    acme = await service.tenants.create("acme", "r1", "Acme")
    await service.deletion.deletion.delete("acme")
    await service.provisioning.drop("main", acme.database)

    await reopen(service.management, service.provisioning, "acme", "main", acme.database)


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
