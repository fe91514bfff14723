from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.integration.tenant.creations import left_by, marker, sorted_roles
from tests.integration.tenant.harness import (
    ARTIFACTS,
    RUNS,
    migration,
    publish_both,
    started,
)
from tests.support.audit_log import chain

from tenant.composition import Composition, compose
from tenant.domain.tenants import TenantState
from tenant.errors import (
    MigrationsUnpublished,
    RequestIdReused,
    ServerUnavailable,
    TenantExists,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    import asyncpg

    from tenant.config import Config


async def test_a_tenant_gets_a_database_of_its_own_with_every_published_table(
    service: Composition,
) -> None:
    acme = await service.tenants.create("acme", "r1", "Acme & Sons")
    globex = await service.tenants.create("globex", "r2", "Globex")

    assert (acme.state, acme.name, acme.generation) == (TenantState.ACTIVE, "Acme & Sons", 1)
    assert acme.database.name != globex.database.name
    for tenant in (acme, globex):
        async with service.tenant_pools.connection(tenant.tenant_id) as connection:
            assert await connection.fetchval("SELECT current_database()") == tenant.database.name
            assert await connection.fetchval("SELECT tenant_id FROM tenant_identity") == (
                tenant.tenant_id
            )
            applied = await connection.fetch("SELECT service, number FROM schema_migrations")
        assert {tuple(row) for row in applied} == {
            ("tenant", 1),
            ("tenant", 2),
            ("tenant", 3),
            ("tenant", 4),
            ("tenant", 5),
            ("runs", 1),
            ("artifacts", 1),
        }


async def test_a_creation_is_recorded_in_both_logs(
    service: Composition, management: asyncpg.Connection
) -> None:
    await service.tenants.create("acme", "r1", "Acme")

    sql = "SELECT user_id FROM audit_logs WHERE action = 'tenant.create' AND resource_id = 'acme'"
    async with service.tenant_pools.connection("acme") as connection:
        assert await connection.fetchval(sql) == "ada"
    await chain(management)
    assert await management.fetchval(sql) == "ada"


async def test_a_repeated_request_returns_the_tenant(service: Composition) -> None:
    first = await service.tenants.create("acme", "r1", "Acme")

    assert await service.tenants.create("acme", "r1", "Acme") == first


@pytest.mark.parametrize(("tenant_id", "name"), [("acme", "Other"), ("globex", "Acme")])
async def test_a_request_id_cannot_be_used_for_something_else(
    service: Composition, management: asyncpg.Connection, tenant_id: str, name: str
) -> None:
    await service.tenants.create("acme", "r1", "Acme")

    with pytest.raises(RequestIdReused):
        await service.tenants.create(tenant_id, "r1", name)

    assert await management.fetchval("SELECT count(*) FROM tenants") == 1


async def test_an_id_can_be_used_once(service: Composition) -> None:
    await service.tenants.create("acme", "r1", "Acme")

    with pytest.raises(TenantExists):
        await service.tenants.create("acme", "r2", "Acme")


async def test_ten_creations_of_one_tenant_make_one(
    service: Composition, management: asyncpg.Connection
) -> None:
    created = await asyncio.gather(
        *(service.tenants.create("acme", "r1", "Acme") for _ in range(10))
    )

    assert len(set(created)) == 1
    assert await left_by(management, created[0]) == (
        [created[0].database.name],
        sorted_roles(created[0].database),
        await marker(management, "ready"),
    )


async def test_of_ten_requests_for_one_id_one_succeeds(
    service: Composition, management: asyncpg.Connection
) -> None:
    made = await asyncio.gather(
        *(service.tenants.create("acme", f"r{n}", "Acme") for n in range(10)),
        return_exceptions=True,
    )

    assert sum(isinstance(one, TenantExists) for one in made) == 9
    assert await management.fetchval("SELECT count(*) FROM tenants") == 1


async def test_different_tenants_are_created_side_by_side_by_two_replicas(
    service: Composition,
    replica: Callable[[], AbstractAsyncContextManager[Composition]],
    management: asyncpg.Connection,
) -> None:
    async with replica() as other:
        await asyncio.gather(
            *(
                (service, other)[n % 2].tenants.create(f"tenant-{n // 2}", f"r{n // 2}", "Same")
                for n in range(8)
            )
        )

    rows = await management.fetch("SELECT state, db_name FROM tenants")
    assert [row["state"] for row in rows] == ["active"] * 4
    assert len({row["db_name"] for row in rows}) == 4


async def test_services_that_have_not_published_are_named_and_nothing_is_made(
    config: Config, management: asyncpg.Connection
) -> None:
    async with started(config) as service:
        with pytest.raises(MigrationsUnpublished) as error:
            await service.tenants.create("acme", "r1", "Acme")
        assert error.value.metadata == {"services": "artifacts,runs"}

        await service.schema.publish("artifacts", [ARTIFACTS])
        await service.schema.publish("llm-gateway", [migration("llm-gateway", 1, "SELECT 1")])
        with pytest.raises(MigrationsUnpublished) as error:
            await service.tenants.create("acme", "r1", "Acme")
        assert error.value.metadata == {"services": "runs"}

        assert await management.fetchval("SELECT count(*) FROM tenants") == 0
        await service.schema.publish("runs", [RUNS])
        assert (await service.tenants.create("acme", "r1", "Acme")).generation == 1


async def test_calls_that_come_before_the_start_is_over_do_not_hinder_it(config: Config) -> None:
    async with compose(config) as service:
        with pytest.raises(ServerUnavailable):
            await service.tenants.create("acme", "r1", "Acme")
        await service.startup.run()
        await publish_both(service)
        assert (await service.tenants.create("acme", "r1", "Acme")).generation == 1
