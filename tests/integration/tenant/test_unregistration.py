"""Servers that are not needed any more leave the list; what died while it looked at one goes."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest.mock import patch

import asyncpg
import pytest
from tests.integration.tenant.calls import register, servers
from tests.integration.tenant.purges import ended
from tests.support.audit_log import chain

from nagaya.tenant.v1 import server_service_pb2 as pb
from nagaya_local.parts.postgres import MANAGEMENT_DATABASE
from servicekit.errors import Conflict, NotFound
from tenant.app import server_inspection
from tenant.app.moves import Moves
from tenant.domain.repair import FindingAction
from tenant.store import operations

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from interceptor.testing import RunningServer
    from nagaya_local.parts.postgres import PostgresServer
    from tenant.composition import Composition


async def unregister(server: RunningServer, server_id: str = "second") -> None:
    await servers(server).UnregisterServer(pb.UnregisterServerRequest(server_id=server_id))


async def listed(server: RunningServer) -> list[str]:
    found = await servers(server).ListServers(pb.ListServersRequest())
    return [one.server_id for one in found.servers]


async def test_a_server_without_tenants_leaves_the_list_and_can_be_registered_again(
    service: Composition,
    server: RunningServer,
    second_postgres: PostgresServer,
    management: asyncpg.Connection,
) -> None:
    await register(server, second_postgres.url)

    await unregister(server)

    assert await listed(server) == ["main"]
    with pytest.raises(NotFound):
        await service.servers.of("second")
    with pytest.raises(NotFound) as again:
        await unregister(server)
    assert again.value.reason == "ERROR_REASON_SERVER_NOT_FOUND"
    await chain(management)
    entries = "SELECT count(*) FROM audit_logs WHERE action = 'server.unregister'"
    assert await management.fetchval(entries) == 1
    await register(server, second_postgres.url)
    acme = await service.tenants.create("acme", "r1", "Acme", {"server": "second"})
    assert acme.server_id == "second"


async def test_a_server_that_is_needed_stays(
    service: Composition, server: RunningServer, second_server: PostgresServer
) -> None:
    await service.tenants.create("acme", "r1", "Acme", {"server": "main"})
    await service.tenants.create("globex", "r2", "Globex", {"server": "second"})

    async def refused(server_id: str) -> str:
        with pytest.raises(Conflict) as error:
            await unregister(server, server_id)
        assert error.value.reason == "ERROR_REASON_SERVER_IN_USE"
        return error.value.message

    assert "it has the management database" in await refused("main")
    assert "it has 1 tenants" in await refused("second")
    away = await Moves(service.management, service.operations).begin("globex", "main", "m1")
    await service.runner.run_to_end(away)
    here = await Moves(service.management, service.operations).begin("acme", "second", "m2")
    assert here.operation_id in await refused("second")
    async with service.management.transaction() as connection:
        await operations.request_cancellation(connection, here.operation_id)
    service.runner.start()
    await ended(service, here)
    await unregister(server)
    assert await listed(server) == ["main"]


@pytest.fixture
async def superuser(second_postgres: PostgresServer) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(second_postgres.superuser_url(MANAGEMENT_DATABASE))
    yield connection
    await connection.close()


async def probes(superuser: asyncpg.Connection) -> int:
    return await superuser.fetchval(
        """
        SELECT count(*)
          FROM (SELECT datname AS name FROM pg_database UNION ALL SELECT rolname FROM pg_roles)
         WHERE name ~ '_probe_'
        """
    )


@pytest.mark.parametrize("mended_by", ["registration", "repair"])
async def test_what_a_registration_that_died_has_made_is_removed(
    service: Composition,
    server: RunningServer,
    second_postgres: PostgresServer,
    superuser: asyncpg.Connection,
    mended_by: str,
) -> None:
    await register(server, second_postgres.url)
    with patch.object(server_inspection, "remove_probe"):
        await register(server, second_postgres.url)
    assert await probes(superuser) == 11  # the database, its nine roles, and their manager

    if mended_by == "registration":
        await register(server, second_postgres.url)
    else:
        found, _ = await service.deletion.repair.run((), dry_run=False)
        (action,) = [one.action for one in found if one.name.startswith("second/")]
        assert action is FindingAction.REMOVED

    assert await probes(superuser) == 0
