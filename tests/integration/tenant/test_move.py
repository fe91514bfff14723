"""A tenant that is moved to another server, in use."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import asyncpg
import pytest

from dataplane import audit
from servicekit.errors import DomainError
from tenant.app.moves import Moves
from tenant.domain.operations import RESULT

if TYPE_CHECKING:
    from nagaya_local.parts.postgres import PostgresServer
    from tenant.composition import Composition
    from tenant.domain.operations import Operation

WRITERS = 4


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


async def logged(service: Composition) -> list[str]:
    async with service.tenant_pools.connection("acme") as connection:
        await audit.chain_all(connection)
        rows = await connection.fetch("SELECT resource_id FROM audit_logs WHERE action = 'note'")
    return [row["resource_id"] for row in rows]


async def databases_on(server: PostgresServer, name: str) -> list[str]:
    connection = await asyncpg.connect(server.superuser_url())
    rows = await connection.fetch(
        """
        SELECT datname AS name FROM pg_database WHERE starts_with(datname, $1)
         UNION ALL SELECT rolname FROM pg_roles WHERE starts_with(rolname, $1)
         UNION ALL SELECT slot_name FROM pg_replication_slots
        """,
        name,
    )
    await connection.close()
    return [row["name"] for row in rows]


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
        written = len(writers.acknowledged)
        async with asyncio.timeout(30):
            while len(writers.acknowledged) < written + 20:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
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
