"""One house for all tests of a process; each test makes runs of its own."""

from __future__ import annotations

import asyncio
import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from tests.fixtures.scripted_provider import ScriptedProvider
from tests.integration.llm_gateway.asking import Asking
from tests.integration.llm_gateway.cataloguing import model, price, set_model, set_price
from tests.integration.llm_gateway.house import ROOT, SCRIPTED, House, running

from dataplane import migrations
from nagaya.llm_gateway.v1 import model_pb2
from nagaya.tenant.v1 import tenant_service_pb2, tenant_service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import asyncpg
    from tests.integration.llm_gateway.house import Server

    from nagaya_local.parts.postgres import PostgresServer
    from nagaya_local.parts.s3 import S3Server

TENANTS = ("acme", "globex")
SCRIPTED_FORMATS = {
    "claude": model_pb2.WIRE_FORMAT_CLAUDE_MESSAGES,
    "responses": model_pb2.WIRE_FORMAT_OPENAI_RESPONSES,
    "chat": model_pb2.WIRE_FORMAT_OPENAI_CHAT,
    "gemini": model_pb2.WIRE_FORMAT_GEMINI_GENERATE_CONTENT,
}
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


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
        silences = ("NAGAYA_PROVIDER_FIRST_BYTE_SECONDS", "NAGAYA_PROVIDER_IDLE_SECONDS")
        impatient = house.gateway("impatient", **dict.fromkeys(silences, "1"))
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


@pytest.fixture(scope="session")
def scripted(house: House) -> Iterator[ScriptedProvider]:
    """A provider of every wire format whose answers a test writes down, byte for byte.

    Ask it by the models in SCRIPTED: `asking.spec(model=by_id(SCRIPTED["chat"]))`. A million tokens
    cost 3 USD of input, 0.30 read from a cache, 3.75 written to one, 15 of output.
    """
    with ScriptedProvider() as provider:
        asyncio.run(_set_scripted(house, provider.url))
        yield provider


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


async def _set_scripted(house: House, url: str) -> None:
    asking = await Asking.of(house, house.gateways[0])
    try:
        for form, provider_id in SCRIPTED.items():
            await asking.set_provider(provider_id, url, SCRIPTED_FORMATS[form])
            each = model(provider_id, provider_id, "standard")
            each.capabilities.max_output_tokens = 100_000
            each.capabilities.max_input_tokens = 1_000_000
            each.capabilities.json_schema = each.capabilities.temperature = True
            each.capabilities.reasoning_headroom_tokens = 1_000
            await set_model(asking, each)
            rates = price(provider_id, BEGINNING, 3_000_000)
            rates.cache_read_micro_usd, rates.cache_write_micro_usd = 300_000, 3_750_000
            rates.output_micro_usd = 15_000_000
            await set_price(asking, rates)
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
