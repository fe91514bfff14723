"""A tenant that is moved to another server, in use."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import asyncpg
import pytest
from tests.integration.tenant.dying_service import run_until_killed
from tests.integration.tenant.harness import publish_both, started
from tests.integration.tenant.moves import databases_on, logged
from tests.support.waiting import wait_until

from dataplane import audit
from servicekit.errors import DomainError
from tenant.app.moves import Moves
from tenant.database_tls import DatabaseTls
from tenant.domain.operations import RESULT
from tenant.domain.servers import ServerState
from tenant.errors import ServerNotFound, ServerUnsuitable, TenantNotFound, TenantNotReady
from tenant.store import servers

if TYPE_CHECKING:
    from nagaya_local.parts.postgres import PostgresServer
    from tenant.composition import Composition
    from tenant.config import Config
    from tenant.domain.operations import Operation

WRITERS = 4
MOVES = 4


class Writers:
    """Append audit entries to a tenant's log, and note which of them were acknowledged."""

    def __init__(self, service: Composition, tenant_id: str) -> None:
        self._service = service
        self._tenant_id = tenant_id
        self._tasks: list[asyncio.Task[None]] = []
        self.acknowledged: list[str] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._write(n)) for n in range(WRITERS)]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    async def go_on(self) -> None:
        """Return when twenty more writes are acknowledged."""
        wanted = len(self.acknowledged) + 20

        async def written() -> bool:
            return len(self.acknowledged) >= wanted

        await wait_until(written)

    async def _write(self, writer: int) -> None:
        number = 0
        while True:
            number += 1
            name = f"{writer}-{number}"
            try:
                async with self._service.tenant_pools.transaction(self._tenant_id) as connection:
                    await audit.append(connection, "note", "run", name)
            except DomainError:
                await asyncio.sleep(0.01)
            else:
                self.acknowledged.append(name)
            await asyncio.sleep(0.02)


async def moved(service: Composition, server_id: str, request_id: str = "m1") -> Operation:
    operation = await Moves(service.management, service.operations).begin(
        "acme", server_id, request_id
    )
    async with asyncio.timeout(60):
        return await service.runner.run_to_end(operation)


@pytest.mark.parametrize("way", ["logical replication", "stop and copy"])
async def test_no_acknowledged_write_is_lost_or_doubled_and_the_old_login_is_refused(
    service: Composition, postgres: PostgresServer, second_server: PostgresServer, way: str
) -> None:
    acme = await service.tenants.create("acme", "r1", "Acme")
    old = await service.connections.resolve("runs", "acme")
    superuser = await asyncpg.connect(postgres.superuser_url())
    if way == "stop and copy":
        await superuser.execute("ALTER ROLE nagaya_provisioner NOREPLICATION")
    writers = Writers(service, "acme")
    writers.start()
    try:
        operation = await moved(service, "second")
        await writers.go_on()
    finally:
        await writers.stop()
        await superuser.execute("ALTER ROLE nagaya_provisioner REPLICATION")
        await superuser.close()

    found = await logged(service)
    assert len(found) == len(set(found))
    assert set(writers.acknowledged) <= set(found)
    result = cast("dict[str, str]", operation.notes[RESULT])
    assert result["way"].startswith(way)
    new = await service.connections.resolve("runs", "acme")
    assert (new.server_id, new.port) == ("second", second_server.port)
    with pytest.raises(asyncpg.PostgresError):
        await asyncpg.connect(
            host=old.host,
            port=old.port,
            database=old.database,
            user=old.user,
            password=old.password,
        )
    assert await databases_on(postgres, acme.database.name) == []


async def test_a_server_that_another_cannot_verify_is_not_read_by_it(
    config: Config, second_server: PostgresServer
) -> None:
    verifying = replace(config, database_tls=DatabaseTls({"PGSSLMODE": "verify-full"}))
    async with started(verifying) as service:
        await publish_both(service)
        await service.tenants.create("acme", "r1", "Acme")
        operation = await moved(service, "second")

    result = cast("dict[str, str]", operation.notes[RESULT])
    assert result["way"].startswith("stop and copy")
    assert "could not connect to the publisher: ssl" in result["way"]


async def test_moves_there_and_back_stop_writers_briefly_whoever_owns_the_audit_log(
    service: Composition, second_server: PostgresServer
) -> None:
    await service.tenants.create("acme", "r1", "Acme")
    await service.sweep.round()  # hands the audit log over to a role that nobody can become
    writers = Writers(service, "acme")
    writers.start()
    try:
        for number in range(MOVES):
            operation = await moved(service, ("second", "main")[number % 2], f"m{number}")
            result = cast("dict[str, str]", operation.notes[RESULT])
            assert result["way"] == "logical replication"
            assert int(result["stopped_ms"]) > 0
            await writers.go_on()
    finally:
        await writers.stop()

    found = await logged(service)
    assert len(found) == len(set(found))
    assert set(writers.acknowledged) <= set(found)


@pytest.mark.parametrize(
    "point",
    [
        "plan",
        "copy",
        "switch",
        "end_replication",
        "drop_old",
        "tenant.store.replication:subscribe",
        "tenant.store.databases:refuse_connections",
        "tenant.store.tenants:place",
        "tenant.store.replication:unsubscribe",
    ],
)
async def test_killed_anywhere_it_is_finished_and_one_database_is_left(
    service: Composition,
    config: Config,
    postgres: PostgresServer,
    second_server: PostgresServer,
    point: str,
) -> None:
    acme = await service.tenants.create("acme", "r1", "Acme")
    begun = await Moves(service.management, service.operations).begin("acme", "second", "m1")
    writers = Writers(service, "acme")
    writers.start()
    try:
        await run_until_killed(config, point)
        async with asyncio.timeout(60):
            operation = await service.runner.run_to_end(begun)
        await writers.go_on()
    finally:
        await writers.stop()

    found = await logged(service)
    assert len(found) == len(set(found))
    assert set(writers.acknowledged) <= set(found)
    assert await databases_on(postgres, acme.database.name) == []
    left = await databases_on(second_server, str(operation.notes["database"]))
    assert len(left) == 10  # the database, its group and eight logins


async def test_a_suspended_tenant_is_moved_and_stays_suspended(
    service: Composition, second_server: PostgresServer
) -> None:
    await service.tenants.create("acme", "r1", "Acme")
    async with service.tenant_pools.transaction("acme") as connection:
        await audit.append(connection, "note", "run", "before")
    await service.tenants.suspend("acme")

    operation = await moved(service, "second")

    result = cast("dict[str, str]", operation.notes[RESULT])
    assert result["way"] == "stop and copy: the tenant is suspended"
    with pytest.raises(TenantNotReady):
        await service.connections.resolve("runs", "acme")
    await service.tenants.resume("acme")
    assert await logged(service) == ["before"]


async def test_the_second_of_two_moves_to_a_server_is_refused_when_it_begins_to_run(
    service: Composition, second_server: PostgresServer
) -> None:
    await service.tenants.create("acme", "r1", "Acme")
    moves = Moves(service.management, service.operations)
    first, second = [await moves.begin("acme", "second", request) for request in ("m1", "m2")]
    async with asyncio.timeout(60):
        await service.runner.run_to_end(first)
        with pytest.raises(ServerUnsuitable, match="acme is there already"):
            await service.runner.run_to_end(second)


async def test_a_move_that_cannot_be_is_refused_before_it_begins(
    service: Composition, second_server: PostgresServer
) -> None:
    moves = Moves(service.management, service.operations)
    await service.tenants.create("acme", "r1", "Acme")
    for tenant_id, server_id, refusal in (
        ("acme", "main", ServerUnsuitable),
        ("acme", "nowhere", ServerNotFound),
        ("nobody", "second", TenantNotFound),
    ):
        with pytest.raises(refusal):
            await moves.begin(tenant_id, server_id, "m1")
    async with service.management.connection() as connection:
        await servers.set_state(connection, "second", ServerState.DRAINING)
    with pytest.raises(ServerUnsuitable):
        await moves.begin("acme", "second", "m1")

    async with service.management.connection() as connection:
        sql = "SELECT count(*) FROM operations WHERE kind = 'move_tenant'"
        assert await connection.fetchval(sql) == 0
