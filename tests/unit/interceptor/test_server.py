from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from tests.unit.interceptor.probe import SERVICE, Answer, Request, Stub, binding, echo

from authentication.testing import verifier_of
from interceptor.server import Server
from interceptor.testing import serve
from nagaya_local.machine.ports import free_port
from servicekit.errors import StartRefused

if TYPE_CHECKING:
    from servicekit.testing import Keys

ASKED = Request(tenant_id="acme")
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def health(channel: grpc.aio.Channel, service: str = "") -> int:
    check = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    return (await check(health_pb2.HealthCheckRequest(service=service))).status


async def test_health_is_reported_for_the_whole_and_for_each_service(keys: Keys) -> None:
    bound = binding(Ask=echo)
    async with serve(keys, bound) as running, grpc.aio.insecure_channel(running.address) as channel:
        ready = [await health(channel), await health(channel, SERVICE)]
        await running.server.set_serving(False)
        not_ready = [await health(channel), await health(channel, SERVICE)]

    assert (ready, not_ready) == ([SERVING] * 2, [NOT_SERVING] * 2)


async def test_draining_says_so_serves_on_and_lets_calls_end(keys: Keys) -> None:
    inside, release, drained = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def wait(_: object, __: object) -> Answer:
        inside.set()
        await release.wait()
        return Answer(text="done")

    async def on_drain() -> None:
        drained.set()

    config = replace(keys.config(), drain_seconds=60)
    server = Server(config, [binding(Ask=wait)], verifier_of(keys), on_drain=on_drain)
    port = await server.start()
    await server.set_serving(True)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        token = [("authorization", f"Bearer {keys.token()}")]
        call = asyncio.ensure_future(Stub(channel).ask(ASKED, metadata=token))
        await inside.wait()
        hurry = asyncio.Event()
        draining = asyncio.create_task(server.drain(hurry))
        while await health(channel) == SERVING:
            continue
        release.set()
        answer = await call
        assert not drained.is_set()
        hurry.set()
        await draining

    assert answer.text == "done"
    assert drained.is_set()


async def test_who_calls_a_server_that_is_not_serving_is_sent_elsewhere(keys: Keys) -> None:
    """However long what is beside calls takes to end: no second call reaches it."""
    ending, release = asyncio.Event(), asyncio.Event()

    async def on_drain() -> None:
        ending.set()
        await release.wait()

    server = Server(keys.config(), [binding(Ask=echo)], verifier_of(keys), on_drain=on_drain)
    port = await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        token = [("authorization", f"Bearer {keys.token()}")]
        draining = asyncio.create_task(server.drain())
        await ending.wait()
        while True:
            try:
                await Stub(channel).ask(ASKED, metadata=token)
            except grpc.aio.AioRpcError as error:
                refused = error.code()
                break
        assert not draining.done()
        release.set()
        await draining

    assert refused in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


async def test_reflection_is_offered_under_both_names(keys: Keys) -> None:
    bound = binding(Ask=echo)
    async with (
        serve(keys, bound, reflection=True) as running,
        grpc.aio.insecure_channel(running.address) as channel,
    ):
        assert SERVICE in await reflected(channel, "v1")
        assert SERVICE in await reflected(channel, "v1alpha")


async def test_reflection_is_off_unless_it_is_wanted(keys: Keys) -> None:
    bound = binding(Ask=echo)
    async with serve(keys, bound) as running, grpc.aio.insecure_channel(running.address) as channel:
        for version in ("v1", "v1alpha"):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await reflected(channel, version)
            assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def reflected(channel: grpc.aio.Channel, version: str) -> list[str]:
    call = channel.unary_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    async for answer in call(reflection_pb2.ServerReflectionRequest(list_services="")):
        return [service.name for service in answer.list_services_response.service]
    return []


async def test_a_port_that_is_taken_is_reported(keys: Keys) -> None:
    port = free_port()
    config = replace(keys.config(), listen_port=port)
    first, second = (Server(config, [binding(Ask=echo)], verifier_of(keys)) for _ in range(2))
    await first.start()
    with pytest.raises(StartRefused, match=f"cannot listen on 127.0.0.1:{port}"):
        await second.start()
    await first.stop(0.0)
    await second.stop(0.0)


PROGRAM = """
import asyncio, sys
from pathlib import Path
from authentication.testing import verifier_of
from servicekit import telemetry
from servicekit.process import run
from interceptor.server import Server
from servicekit.testing import Keys
from tests.unit.interceptor.probe import binding, echo

async def main():
    keys = Keys(Path(sys.argv[1]))
    config = keys.config()
    telemetry.start("probe", config)
    server = Server(config, [binding(Ask=echo)], verifier_of(keys))
    print(await server.start(), flush=True)
    async def prepare():
        print("preparing", flush=True)
        if sys.argv[2] == "for ever":
            await asyncio.Event().wait()
        if sys.argv[2] == "in vain":
            raise RuntimeError("in vain")
    await server.run_until_signal(prepare())

run("probe", main)
"""


@pytest.mark.parametrize("preparing", ["briefly", "for ever"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_service_whatever_it_waits_for(
    tmp_path: object, preparing: str, number: signal.Signals
) -> None:
    process = _program(tmp_path, preparing)
    assert process.stdout is not None
    assert int(process.stdout.readline()) > 0
    assert process.stdout.readline() == "preparing\n"
    process.send_signal(number)
    _, log = process.communicate(timeout=60)

    assert process.returncode == 0
    assert json.loads(log.splitlines()[-1])["message"] == "stopped"


def test_a_service_that_cannot_be_prepared_ends(tmp_path: object) -> None:
    process = _program(tmp_path, "in vain")
    _, log = process.communicate(timeout=60)

    assert process.returncode == 1
    assert "in vain" in log


def _program(folder: object, preparing: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder), preparing],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "GRPC_VERBOSITY": "ERROR"},
    )
