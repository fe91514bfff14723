"""One of two gateways stops behind nginx, which asks for no health."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.integration.llm_gateway.stored_replies import check, held
from tests.support.balancers import NginxBalancer
from tests.support.processes import running

from nagaya.llm_gateway.v1 import generation_service_pb2, generation_service_pb2_grpc
from nagaya_local.envoy.bootstrap import Address
from nagaya_local.machine.ports import free_port
from nagaya_local.machine.running import running as running_program
from nagaya_local.names import SERVICES
from servicekit.channel import open_channel

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable
    from pathlib import Path

    import grpc
    from tests.support.gateway_client import GatewayClient
    from tests.support.gateway_stack import GatewayStack
    from tests.support.processes import ServiceProcess

HELD = range(1, 5)
BEFORE, AFTER = range(5, 25), range(25, 165)
AT_ONCE = 4


async def test_no_call_fails_while_a_gateway_waits_for_calls_that_are_under_way(
    stack: GatewayStack, client: GatewayClient, tmp_path: Path
) -> None:
    with running(stack.gateway("leaving", NAGAYA_SHUTDOWN_GRACE_SECONDS="120")) as leaving:
        asked, rule = await held(stack, await client.via(leaving), len(HELD))
        async with balanced(stack, (stack.gateways[0], leaving), tmp_path) as channel:
            await generate(client, channel, BEFORE)
            os.kill(leaving.pid, signal.SIGTERM)
            await leaving.wait_until_logged("server.draining", *asked)
            await generate(client, channel, AFTER)
            assert leaving.running()
            assert not any(task.done() for task in asked)
        stack.stub.release(rule)
        await asyncio.gather(*asked)

    calls = [await client.get_call(number) for number in (*HELD, *BEFORE, *AFTER)]
    await check(client, calls)


async def generate(client: GatewayClient, channel: grpc.aio.Channel, calls: Iterable[int]) -> None:
    """Ask under these numbers, four at once. Raises DomainError."""
    stub = generation_service_pb2_grpc.GenerationServiceStub(channel)
    left = iter(calls)

    async def ask() -> None:
        for number in left:
            request = generation_service_pb2.GenerateRequest(
                tenant_id=client.tenant_id, spec=client.spec(call=number)
            )
            await stub.Generate(request, timeout=60)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(ask())


@asynccontextmanager
async def balanced(
    stack: GatewayStack, gateways: Iterable[ServiceProcess], folder: Path
) -> AsyncGenerator[grpc.aio.Channel]:
    """Open a channel of a service to gateways, through nginx."""
    servers = [Address.parse(gateway.address) for gateway in gateways]
    listen = {service: Address("127.0.0.1", free_port()) for service in SERVICES}
    nginx = NginxBalancer(folder / "nginx", listen, dict.fromkeys(SERVICES, servers))
    at, token = listen["llm-gateway"], stack.keys.signer("runs").token("acme", "ada")
    async with (
        running_program(nginx, folder / "nginx.log"),
        open_channel(f"{at.host}:{at.port}", None, token) as channel,
    ):
        yield channel
