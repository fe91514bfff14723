"""Which database server a new tenant is placed on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.integration.tenant.calls import creation, register, servers, tenants
from tests.support.waiting import wait_until

from nagaya.tenant.v1 import server_service_pb2, tenant_service_pb2
from servicekit.errors import DomainError
from tenant.domain.operations import OperationKind
from tenant.store import servers as server_rows

if TYPE_CHECKING:
    import asyncpg

    from interceptor.testing import RunningServer
    from nagaya_local.parts.postgres import PostgresServer
    from tenant.composition import Composition


async def test_a_tenant_is_placed_by_labels_then_by_free_places(
    server: RunningServer, second_postgres: PostgresServer
) -> None:
    await register(server, "", "main", max_tenants=3)
    await register(server, second_postgres.url, labels={"region": "eu"}, max_tenants=2)

    async def placed(tenant_id: str, **labels: str) -> str:
        request = creation(tenant_id, tenant_id)
        request.server_labels.update(labels)
        return (await tenants(server).CreateTenant(request)).tenant.server_id

    assert await placed("first") == "main"  # three places are more than two
    assert await placed("second", region="eu") == "second"
    assert await placed("third") == "main"  # two are more than one
    assert await placed("fourth", server="second") == "second"
    with pytest.raises(DomainError) as error:
        await placed("fifth", region="eu")
    assert error.value.reason == "ERROR_REASON_NO_SERVER_FREE"
    assert error.value.metadata["labels"] == "region=eu"
    drained = server_service_pb2.DrainServerRequest(server_id="main")
    assert (await servers(server).DrainServer(drained)).server.tenant_count == 2
    with pytest.raises(DomainError):
        await placed("fifth")
    await servers(server).DrainServer(
        server_service_pb2.DrainServerRequest(server_id="main", undo=True)
    )
    assert await placed("fifth") == "main"
    with pytest.raises(DomainError) as error:
        await placed("first", region="eu")  # the same request id for another content
    assert error.value.reason == "ERROR_REASON_REQUEST_ID_REUSED"


async def test_the_last_place_of_a_server_is_taken_once(
    server: RunningServer, service: Composition, second_postgres: PostgresServer
) -> None:
    await register(server, second_postgres.url, labels={"region": "eu"}, max_tenants=1)
    await tenants(server).CreateTenant(creation("acme", "acme"))
    async with service.management.transaction() as connection:
        begun = await service.operations.begin(
            connection, OperationKind.MOVE_TENANT, "acme", "move", {"server_id": "second"}
        )

        async def waits() -> bool:
            async with service.management.connection() as other:
                return await other.fetchval(
                    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                )

        await server_rows.lock_placement(connection)
        request = creation("globex", "globex")
        request.server_labels["region"] = "eu"
        creating = asyncio.ensure_future(tenants(server).CreateTenant(request))
        await wait_until(waits)

    with pytest.raises(DomainError) as error:
        await creating
    assert error.value.reason == "ERROR_REASON_NO_SERVER_FREE"
    moving = tenant_service_pb2.MoveTenantRequest(
        tenant_id="acme", server_id="second", request_id="another"
    )
    with pytest.raises(DomainError) as error:
        await tenants(server).MoveTenant(moving)
    assert error.value.metadata["check"] == "max_tenants"
    assert begun.tenant_id == "acme"


async def test_a_placement_reads_no_operation_that_has_ended(
    service: Composition, management: asyncpg.Connection
) -> None:
    await management.execute(
        """
        INSERT INTO operations (kind, tenant_id, request_id, arguments, user_id, state)
        SELECT 'move_tenant', 'acme', number::text, '{"server_id": "main"}', 'ada', 'done'
          FROM generate_series(1, 10000) AS number
        """
    )
    await management.execute("ANALYZE operations")
    choice = server_rows._CHOICE  # pyright: ignore[reportPrivateUsage]
    plan = "\n".join(row[0] for row in await management.fetch(f"EXPLAIN {choice}", "{}"))
    assert "operations_open" in plan
    assert "Seq Scan on operations" not in plan
