"""One house for all tests of a process; each test makes runs of its own."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

import pytest
from tests.integration.llm_gateway.asking import Asking
from tests.integration.llm_gateway.house import ROOT, House, running

from dataplane import migrations
from nagaya.tenant.v1 import tenant_service_pb2, tenant_service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import asyncpg
    from tests.integration.llm_gateway.house import Server

    from nagaya_local.parts.postgres import PostgresServer
    from nagaya_local.parts.s3 import S3Server

TENANTS = ("acme", "globex")


@pytest.fixture(scope="session")
def house(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer, s3: S3Server
) -> Iterator[House]:
    management = postgres.create_management_database(f"nagaya_{secrets.token_hex(4)}")
    house = House(tmp_path_factory.mktemp("house"), postgres, s3, asyncio.run(management))
    try:
        house.start(house.stub)
        house.start(house.tenant)
        asyncio.run(_publish_runs(house))
        house.start(house.artifacts)
        impatient = house.gateway("impatient", NAGAYA_PROVIDER_IDLE_SECONDS="1")
        house.gateways = (house.gateway("patient"), impatient)
        for gateway in house.gateways:
            gateway.start()
        asyncio.run(_create_tenants(house))
        yield house
    finally:
        house.stop()


@pytest.fixture
async def asking(house: House) -> AsyncIterator[Asking]:
    """The first gateway, the stub and the ledger as a test sees them, and a run of its own."""
    asking = await Asking.of(house, house.gateways[0])
    try:
        yield asking
    finally:
        await asking.close()


@pytest.fixture
async def victim(house: House, asking: Asking) -> AsyncIterator[Asking]:
    """The test's run, asked about through a process that the test may harm."""
    with running(house.gateway("victim")) as gateway:
        through = await asking.through(gateway)
        yield through


@pytest.fixture
async def management(house: House) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A superuser's look into the management database."""
    connection = await house.database(house.management_name)
    yield connection
    await connection.close()


@pytest.fixture
def gateway(house: House) -> Server:
    return house.gateways[0]


async def _publish_runs(house: House) -> None:
    files = migrations.read_migrations(ROOT / "services" / "runs" / "migrations")
    async with house.workload(house.tenant, "runs") as channel:
        await migrations.publish(channel, "runs", files)


async def _create_tenants(house: House) -> None:
    """Create the tenants, use the stub as every provider, and set the steps' defaults."""
    async with house.person(house.tenant) as channel:
        tenants = tenant_service_pb2_grpc.TenantServiceStub(channel)
        for tenant_id in TENANTS:
            request = tenant_service_pb2.CreateTenantRequest(
                tenant_id=tenant_id, request_id=tenant_id, name=tenant_id
            )
            response = await tenants.CreateTenant(request)
            house.databases[tenant_id] = response.tenant.database
    asking = await Asking.of(house, house.gateways[0])
    try:
        for provider_id, wire_format in (("claude", 1), ("openai", 2), ("gemini", 4)):
            await asking.set_provider(provider_id, house.stub.url, wire_format)
        version = (await asking.resolve("draft")).catalog_version
        for gateway in house.gateways:
            await _has_seen(await asking.through(gateway), version)
    finally:
        await asking.close()


async def _has_seen(asking: Asking, version: int) -> None:
    """Return when a process uses a version of the catalogue, or a later one."""
    async with asyncio.timeout(10):
        while (await asking.resolve("draft")).catalog_version < version:  # noqa: ASYNC110 - another process's cache is nothing to wait on
            await asyncio.sleep(0.05)
