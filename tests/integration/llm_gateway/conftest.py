"""One stack for all tests of a process; each test makes runs of its own."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from tests.support.catalog import SCRIPTED, SCRIPTED_FORMATS, set_model, set_price, set_provider
from tests.support.catalog import scripted as scripted_model
from tests.support.gateway_client import GatewayClient
from tests.support.gateway_stack import GatewayStack, running_gateway_stack
from tests.support.processes import ServiceProcess, running
from tests.support.scripted_provider import ScriptedProvider

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator

    import asyncpg

    from nagaya_local.parts.postgres import PostgresServer
    from nagaya_local.parts.s3 import S3Server


@pytest.fixture(scope="session")
def stack(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer, s3: S3Server
) -> Iterator[GatewayStack]:
    with running_gateway_stack(tmp_path_factory.mktemp("stack"), postgres, s3) as stack:
        asyncio.run(_set_providers(stack))
        yield stack


@pytest.fixture
async def client(stack: GatewayStack) -> AsyncIterator[GatewayClient]:
    """The first gateway, the stub and the ledger as a test sees them, and a run of its own."""
    client = await GatewayClient.open(stack, stack.gateways[0])
    try:
        yield client
    finally:
        await client.close()


@pytest.fixture(scope="session")
def scripted(stack: GatewayStack) -> Iterator[ScriptedProvider]:
    """A provider of every wire format whose answers a test writes down, byte for byte.

    Ask it by the models in SCRIPTED: `client.spec(model=by_id(SCRIPTED["chat"]))`.
    """
    with ScriptedProvider() as provider:
        asyncio.run(_set_scripted(stack, provider.url))
        yield provider


@pytest.fixture
async def victim(stack: GatewayStack, client: GatewayClient) -> AsyncIterator[GatewayClient]:
    """The test's run, asked about through a process that the test may harm."""
    with running(stack.gateway("victim")) as gateway:
        through = await client.via(gateway)
        yield through


@pytest.fixture
async def management(stack: GatewayStack) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A superuser's look into the management database."""
    connection = await stack.database(stack.management_name)
    yield connection
    await connection.close()


@pytest.fixture
def gateway(stack: GatewayStack) -> ServiceProcess:
    return stack.gateways[0]


async def _set_providers(stack: GatewayStack) -> None:
    """Use the stub as every provider."""
    async with _catalog_changes(stack) as client:
        for provider_id, wire_format in (("claude", 1), ("openai", 2), ("gemini", 4)):
            await set_provider(client, provider_id, stack.stub.url, wire_format)


async def _set_scripted(stack: GatewayStack, url: str) -> None:
    async with _catalog_changes(stack) as client:
        for form, provider_id in SCRIPTED.items():
            await set_provider(client, provider_id, url, SCRIPTED_FORMATS[form])
            model, price = scripted_model(form)
            await set_model(client, model)
            await set_price(client, price)


@asynccontextmanager
async def _catalog_changes(stack: GatewayStack) -> AsyncGenerator[GatewayClient]:
    """Change the catalogue in the block; return when all gateways use it."""
    client = await GatewayClient.open(stack, stack.gateways[0])
    try:
        yield client
        version = (await client.resolve("draft")).catalog_version
        for gateway in stack.gateways:
            await (await client.via(gateway)).wait_until_catalog(version)
    finally:
        await client.close()
