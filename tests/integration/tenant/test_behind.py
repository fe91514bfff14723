"""A tenant whose database lacks a migration is served to those that do not need it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest
from tests.integration.tenant.harness import RUNS, migration
from tests.support.waiting import wait_until

from dataplane import tenants
from dataplane.tenants import connect_data_plane
from servicekit.errors import TenantNotActive
from tenant.errors import TenantBehind

if TYPE_CHECKING:
    from interceptor.testing import RunningServer
    from nagaya_local.parts.postgres import PostgresServer
    from tenant.composition import Composition

STRICT = migration("runs", 2, "ALTER TABLE runs ALTER COLUMN note SET NOT NULL")


async def poison(postgres: PostgresServer, service: Composition, tenant_id: str, sql: str) -> None:
    found = await service.connections.resolve("runs", tenant_id)
    connection = await asyncpg.connect(postgres.superuser_url(found.database))
    await connection.execute(sql)
    await connection.close()


@pytest.fixture
async def behind(service: Composition, postgres: PostgresServer) -> str:
    """A tenant that lacks migration 2 of runs; another one has it."""
    for name in ("acme", "globex"):
        await service.tenants.create(name, name, name)
    await poison(postgres, service, "globex", "INSERT INTO runs (note) VALUES (NULL)")
    done = await service.schema.publish("runs", [RUNS, STRICT])
    assert done.behind_tenant_ids == ("globex",)
    return "globex"


async def test_who_needs_what_it_lacks_is_refused_with_the_number(
    service: Composition, behind: str
) -> None:
    await service.connections.resolve("runs", "acme", least_migration=2)
    await service.connections.resolve("runs", behind, least_migration=1)
    await service.connections.resolve("artifacts", behind, least_migration=1)
    await service.connections.resolve("runs", "", least_migration=9)  # the management database

    with pytest.raises(TenantBehind) as error:
        await service.connections.resolve("runs", behind, least_migration=2)

    needed = {"tenant_id": behind, "service": "runs", "applied": "1", "needed": "2"}
    assert error.value.metadata == needed


async def test_a_service_reaches_it_as_soon_as_it_has_caught_up(
    service: Composition, server: RunningServer, postgres: PostgresServer, behind: str
) -> None:
    async with connect_data_plane(
        server.workload_channel("runs"), "runs", least_migration=2
    ) as data:
        await data.ready()
        async with data.tenants.connection("acme") as connection:
            await connection.execute("SELECT FROM runs")
        with pytest.raises(TenantNotActive) as refused:
            async with data.tenants.connection(behind):
                pass
        assert refused.value.metadata == {"state": "behind"}

        await poison(postgres, service, behind, "DELETE FROM runs")
        await service.schema.publish("runs", [RUNS, STRICT])

        async def is_reachable() -> bool:
            try:
                await data.tenants.check(behind)
            except TenantNotActive:
                return False
            return True

        await wait_until(is_reachable)
        async with data.tenants.connection(behind) as connection:
            await connection.execute("SELECT FROM runs")


async def test_who_asks_while_it_is_migrated_waits(
    service: Composition,
    server: RunningServer,
    postgres: PostgresServer,
    behind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process that starts may be asked before the migrations are done that it publishes."""
    monkeypatch.setattr(tenants, "_BEHIND_SECONDS", 60.0)
    monkeypatch.setattr(tenants, "_BEHIND_AT_START_SECONDS", 60.0)
    async with connect_data_plane(
        server.workload_channel("runs"), "runs", least_migration=2
    ) as data:
        await data.ready()
        checking = asyncio.create_task(data.tenants.check(behind))
        await asyncio.wait((checking,), timeout=0.5)
        assert not checking.done()
        await poison(postgres, service, behind, "DELETE FROM runs")
        await service.schema.publish("runs", [RUNS, STRICT])

        await checking


async def test_who_asks_long_after_the_first_refusal_does_not_wait(
    server: RunningServer, behind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenants, "_BEHIND_SECONDS", 60.0)
    monkeypatch.setattr(tenants, "_BEHIND_AT_START_SECONDS", 0.0)
    async with (
        connect_data_plane(server.workload_channel("runs"), "runs", least_migration=2) as data,
        asyncio.timeout(20),
    ):
        await data.ready()
        with pytest.raises(TenantNotActive):
            await data.tenants.check(behind)


async def test_a_suspended_tenant_catches_up_when_it_is_resumed(
    service: Composition,
) -> None:
    await service.tenants.create("acme", "r1", "Acme")
    await service.tenants.suspend("acme")
    done = await service.schema.publish("runs", [RUNS, STRICT])
    assert done.behind_tenant_ids == ()

    await asyncio.gather(*(service.tenants.resume("acme") for _ in range(3)))

    await service.connections.resolve("runs", "acme", least_migration=2)
