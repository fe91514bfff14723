"""Channels to a name that several servers share, looked up at a DNS server of the test's own."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.support.dns_server import running_dns_server
from tests.support.waiting import wait_until
from tests.unit.interceptor.probe import Answer, Request, Stub, binding

from authentication.testing import verifier_of
from interceptor.server import Server
from nagaya_local.machine.ports import free_port
from servicekit.channel import open_channel

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from servicekit.testing import Keys

NAME = "probe.test"
ASKED = Request(tenant_id="acme")
BETWEEN_SECONDS = 2.0
"""Between two servers of a rolling deployment, whose name is looked up once a second."""
pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8 without being told"
)


class Servers:
    """Servers on addresses of the loopback interface, all on one port."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        self.port = free_port()
        self.asked: list[str] = []
        """By which server each call was answered."""
        self._running: dict[str, Server] = {}

    async def start(self, host: str, *, connection_age_seconds: float = 900.0) -> Server:
        async def ask(_: Request, __: object) -> Answer:
            self.asked.append(host)
            return Answer(text=host)

        async def watch(_: Request, __: object) -> AsyncIterator[Answer]:
            while True:
                yield Answer(text=host)
                await asyncio.sleep(0.05)

        config = replace(
            self.keys.config(),
            listen_host=host,
            listen_port=self.port,
            connection_age_seconds=connection_age_seconds,
        )
        server = Server(config, [binding(Ask=ask, Watch=watch)], verifier_of(self.keys))
        await server.start()
        await server.set_serving(True)
        self._running[host] = server
        return server

    async def stop(self, host: str) -> None:
        await self._running.pop(host).drain()

    async def close(self) -> None:
        for host in [*self._running]:
            await self.stop(host)


@pytest.fixture
async def servers(keys: Keys) -> AsyncGenerator[Servers]:
    made = Servers(keys)
    yield made
    await made.close()


@asynccontextmanager
async def calling(servers: Servers, dns_port: int) -> AsyncGenerator[Stub]:
    address = f"dns://127.0.0.1:{dns_port}/{NAME}:{servers.port}"
    async with open_channel(address, None, servers.keys.token()) as channel:
        yield Stub(channel)


async def test_calls_are_spread_over_all_addresses_of_a_name(servers: Servers) -> None:
    for host in ("127.0.0.1", "127.0.0.2"):
        await servers.start(host)
    async with running_dns_server() as dns:
        dns.names = {NAME: ("127.0.0.1", "127.0.0.2")}
        async with calling(servers, dns.port) as stub:

            async def both_are_asked() -> bool:
                await stub.ask(ASKED)
                return len(set(servers.asked)) == 2

            await wait_until(both_are_asked)


async def test_a_server_that_says_that_it_stops_gets_no_calls(servers: Servers) -> None:
    first, _ = [await servers.start(host) for host in ("127.0.0.1", "127.0.0.2")]
    async with running_dns_server() as dns:
        dns.names = {NAME: ("127.0.0.1", "127.0.0.2")}
        async with calling(servers, dns.port) as stub:
            await stub.ask(ASKED)
            await first.set_serving(False)

            async def only_the_second_is_asked() -> bool:
                servers.asked.clear()
                for _ in range(4):
                    await stub.ask(ASKED)
                return set(servers.asked) == {"127.0.0.2"}

            await wait_until(only_the_second_is_asked)


async def test_no_call_fails_while_all_servers_move_to_other_addresses(servers: Servers) -> None:
    old, new = ("127.0.0.1", "127.0.0.2"), ("127.0.0.3", "127.0.0.4")
    for host in old:
        await servers.start(host)
    async with running_dns_server() as dns:
        dns.names = {NAME: old}
        async with calling(servers, dns.port) as stub:
            moving = asyncio.create_task(_move(servers, dns.names, old, new))
            while not moving.done():
                await stub.ask(ASKED)
            await moving
            servers.asked.clear()
            await stub.ask(ASKED)

    assert set(servers.asked) <= set(new)


async def _move(
    servers: Servers, names: dict[str, Sequence[str]], old: tuple[str, ...], new: tuple[str, ...]
) -> None:
    """Do what a rolling deployment does: one new server, one old one less."""
    here = [*old]
    for arrives, leaves in zip(new, old, strict=True):
        await servers.start(arrives)
        here = [*here, arrives]
        here.remove(leaves)
        names[NAME] = here
        await servers.stop(leaves)
        await asyncio.sleep(BETWEEN_SECONDS)


async def test_a_new_server_gets_calls_once_connections_are_old(servers: Servers) -> None:
    await servers.start("127.0.0.1", connection_age_seconds=0.5)
    async with running_dns_server() as dns:
        dns.names = {NAME: ("127.0.0.1",)}
        async with calling(servers, dns.port) as stub:
            await stub.ask(ASKED)
            await servers.start("127.0.0.2")
            dns.names = {NAME: ("127.0.0.1", "127.0.0.2")}

            async def the_new_one_is_asked() -> bool:
                return (await stub.ask(ASKED)).text == "127.0.0.2"

            await wait_until(the_new_one_is_asked)


async def test_a_stream_goes_on_after_its_connection_is_too_old_for_new_calls(
    servers: Servers,
) -> None:
    await servers.start("127.0.0.1", connection_age_seconds=0.1)
    async with running_dns_server() as dns:
        dns.names = {NAME: ("127.0.0.1",)}
        async with calling(servers, dns.port) as stub:
            watch = stub.watch(ASKED, timeout=30)
            seen = 0
            async with asyncio.timeout(20):
                async for _ in watch:
                    seen += 1
                    await stub.ask(ASKED)
                    if seen == 10:  # half a second, five times as long as calls use a connection
                        break
            watch.cancel()

    assert len(servers.asked) == 10
