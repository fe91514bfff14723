"""Traps that wait where a gRPC server stops or a network breaks: T4, T6, T7."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest
from tests.unit.interceptor.probe import Answer, Request, Stub, binding
from tests.unit.interceptor.wire import Wire

from authentication.testing import verifier_of
from interceptor.server import Server
from interceptor.testing import serve
from nagaya_local.machine.ports import free_port
from servicekit.channel import OPTIONS, Channel, open_channel
from servicekit.errors import DomainError, Unavailable
from tls.address import ServerAddress

if TYPE_CHECKING:
    import grpc

    from interceptor.server import Binding
    from servicekit.testing import Keys

ASKED = Request(tenant_id="acme")


async def work(request: Request, _: object) -> Answer:
    await asyncio.sleep(0.02)
    return Answer(text=request.text)


async def sleep(_: object, __: object) -> Answer:
    await asyncio.sleep(60)
    return Answer()


async def test_t4_idempotent_calls_survive_restarts_of_the_server_under_load(keys: Keys) -> None:
    port, over = free_port(), asyncio.Event()
    ends: list[asyncio.Event] = []

    async def client(stub: Stub) -> None:
        while not over.is_set():
            await stub.ask(ASKED, wait_for_ready=True, timeout=60)
            ends[-1].set()

    async with open_channel(f"127.0.0.1:{port}", None, keys.token()) as channel:
        stub = Stub(channel)
        ends.append(asyncio.Event())
        server = await _start(keys, port, binding(Ask=work))
        async with asyncio.TaskGroup() as clients:
            for _ in range(16):
                clients.create_task(client(stub))
            for _ in range(3):
                await ends[-1].wait()
                await server.drain()
                server = await _start(keys, port, binding(Ask=work))
                ends.append(asyncio.Event())
            await ends[-1].wait()
            over.set()
        await server.stop(0.0)


async def _start(keys: Keys, port: int, *bindings: Binding) -> Server:
    config = replace(keys.config(), listen_port=port, drain_seconds=0.05)
    server = Server(config, bindings, verifier_of(keys))
    await server.start()
    await server.set_serving(True)
    return server


async def test_t6_a_peer_that_falls_silent_is_noticed_long_before_the_deadline(keys: Keys) -> None:
    impatient = {n: min(value, 300) if n.endswith("_ms") else value for n, value in OPTIONS.items()}
    token = keys.token()
    async with (
        serve(keys, binding(Ask=sleep)) as running,
        Wire(running.address) as wire,
        Channel(ServerAddress.parse(wire.address), lambda: token, impatient, None) as channel,
    ):
        stub = Stub(cast("grpc.aio.Channel", channel))
        call = asyncio.create_task(stub.ask(ASKED, timeout=100))
        await wire.carried.wait()
        await wire.cut()
        begun = time.monotonic()
        with pytest.raises(DomainError) as raised:
            await call
        took = time.monotonic() - begun

    assert isinstance(raised.value, Unavailable)
    assert took < 50


async def test_t7_calls_go_to_all_healthy_replicas_and_to_no_other(keys: Keys) -> None:
    def answering(name: str) -> Binding:
        async def answer(_: object, __: object) -> Answer:
            return Answer(text=name)

        return binding(Ask=answer)

    async with serve(keys, answering("one")) as one, serve(keys, answering("two")) as two:
        both = ServerAddress.parse(two.address)
        both = replace(both, host=f"{one.address},{both.host}", resolver="ipv4:")
        async with open_channel(both, None, keys.token()) as channel:
            stub = Stub(channel)
            await _until_answers(stub, {"one", "two"})
            await one.server.set_serving(False)
            await _until_answers(stub, {"two"})


async def _until_answers(stub: Stub, wanted: set[str]) -> None:
    async with asyncio.timeout(60):
        while {(await stub.ask(ASKED)).text for _ in range(20)} != wanted:
            continue
