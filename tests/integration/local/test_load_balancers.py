"""nginx and HAProxy with the configurations of deploy/load-balancers, in front of our server."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import pytest
from grpc_health.v1 import health_pb2
from tests.support.balancers import HaproxyBalancer, NginxBalancer
from tests.support.waiting import wait_until
from tests.unit.interceptor.probe import Answer, Request, Stub, binding, sending

from interceptor.testing import serve
from nagaya_local.envoy.bootstrap import Address
from nagaya_local.machine.ports import free_port
from nagaya_local.machine.running import running
from nagaya_local.names import SERVICES
from servicekit.channel import open_channel
from servicekit.errors import DomainError, InvalidInput, Violation
from servicekit.testing import Keys

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

    from interceptor.server import Binding
    from interceptor.testing import RunningServer

BALANCERS = {"nginx": NginxBalancer, "haproxy": HaproxyBalancer}
ASKED = Request(tenant_id="acme", text="well")
MEBIBYTE = 1 << 20
SERVING = health_pb2.HealthCheckResponse(status="SERVING").SerializeToString()


class ThingWrong(InvalidInput):
    reason = "ERROR_REASON_THING_WRONG"


@dataclass(frozen=True)
class Front:
    """A load balancer in front of two servers."""

    address: str
    servers: tuple[RunningServer, RunningServer]
    asked: list[int]
    """Which of the servers was asked, call for call."""
    answering: asyncio.Event
    """Until it is set, calls that ask for "held" have no response."""

    @asynccontextmanager
    async def stub(self, token: str | None = None) -> AsyncGenerator[Stub]:
        made = self.servers[0].keys.token("ada", scope="*", tenants=("*",))
        async with open_channel(self.address, None, made if token is None else token) as channel:
            yield Stub(channel)


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


@pytest.fixture(params=BALANCERS)
async def front(
    request: pytest.FixtureRequest, keys: Keys, tmp_path: Path
) -> AsyncGenerator[Front]:
    asked, answering = list[int](), asyncio.Event()
    async with AsyncExitStack() as stack:
        first, second = [
            await stack.enter_async_context(serve(keys, _behaviours(number, asked, answering)))
            for number in (1, 2)
        ]
        servers = [Address.parse(server.address) for server in (first, second)]
        listen = {service: Address("127.0.0.1", free_port()) for service in SERVICES}
        balancer = BALANCERS[request.param](
            tmp_path / "balancer", listen, dict.fromkeys(SERVICES, servers)
        )
        await stack.enter_async_context(running(balancer, tmp_path / "balancer.log"))
        at = listen["runs"]
        yield Front(f"{at.host}:{at.port}", (first, second), asked, answering)


def _behaviours(number: int, asked: list[int], answering: asyncio.Event) -> Binding:
    async def ask(request: Request, _: object) -> Answer:
        asked.append(number)
        if request.text == "wrong":
            violations = tuple(Violation(f"text[{n}]", "is dull") for n in range(200))
            raise ThingWrong("the thing is wrong", violations=violations)
        if request.text == "held":
            await answering.wait()
        return Answer(text="x" * (1 if request.text == "well" else MEBIBYTE))

    async def watch(request: Request, _: object) -> AsyncIterator[Answer]:
        yield Answer(text="began")
        if request.text == "wrong":
            raise ThingWrong("the thing went wrong")
        await asyncio.sleep(60)

    async def send(requests: AsyncIterator[Request], _: object) -> Answer:
        return Answer(text=str(len([request async for request in requests])))

    return binding(Ask=ask, Watch=watch, Send=send)


async def test_calls_of_one_connection_are_spread_over_both_servers(front: Front) -> None:
    async with front.stub() as stub:
        for _ in range(20):
            await stub.ask(ASKED)

    assert set(front.asked) == {1, 2}


async def test_a_refusal_arrives_with_all_its_details(front: Front) -> None:
    async with front.stub() as stub:
        with pytest.raises(InvalidInput) as refused:
            await stub.ask(Request(tenant_id="acme", text="wrong"))

    assert refused.value.reason == ThingWrong.reason
    assert len(refused.value.violations) > 100  # 8 KiB of them


async def test_a_large_response_and_a_large_token_pass(front: Front) -> None:
    token = front.servers[0].keys.token("ada", scope="*" + " probe.use" * 1000, tenants=("*",))
    assert len(token) > 12_000
    async with front.stub(token) as stub:
        answer = await stub.ask(Request(tenant_id="acme", text="much"))

    assert len(answer.text) == MEBIBYTE


async def test_the_messages_of_a_stream_arrive_while_it_goes_on(front: Front) -> None:
    async with front.stub() as stub, asyncio.timeout(50):
        watch = stub.watch(ASKED, timeout=30)
        first = await anext(aiter(watch))
        watch.cancel()

    assert first.text == "began"


async def test_a_stream_that_is_refused_midway_says_why(front: Front) -> None:
    async with front.stub() as stub:
        with pytest.raises(InvalidInput, match="the thing went wrong"):
            async for _ in stub.watch(Request(tenant_id="acme", text="wrong")):
                pass


async def test_a_stream_of_requests_arrives_whole_or_is_refused_with_a_reason(
    front: Front,
) -> None:
    requests = [Request(tenant_id="acme", text="well")] * 2000
    async with front.stub() as stub:
        answer = await stub.send(sending(*requests))
    async with front.stub("no token") as stub:
        with pytest.raises(DomainError, match="the token is not valid"):
            await stub.send(sending(*requests))

    assert answer.text == "2000"


@pytest.mark.parametrize("front", ["nginx"], indirect=True)
async def test_where_no_server_answers_a_client_sees_a_status_that_it_repeats(front: Front) -> None:
    """Not HTTP's 502: with headers of HTTP the response would have begun for gRPC's own retries."""
    for running_server in front.servers:
        await running_server.server.stop(0)

    async with grpc.aio.insecure_channel(front.address) as channel:
        ask = channel.unary_unary("/nagaya.runs.v1.RunService/GetRun")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ask(b"", timeout=20)

    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert refused.value.details() == "no server answered the load balancer"
    assert not refused.value.initial_metadata()


@pytest.mark.parametrize("front", ["haproxy"], indirect=True)
async def test_a_server_that_says_that_it_stops_gets_no_more_calls(front: Front) -> None:
    async with front.stub() as stub:
        await front.servers[0].server.set_serving(False)

        async def nobody_asks_the_first() -> bool:
            front.asked.clear()
            for _ in range(6):
                await stub.ask(ASKED)
            return 1 not in front.asked

        await wait_until(nobody_asks_the_first)
        await front.servers[0].server.set_serving(True)

        async def both_are_asked() -> bool:
            front.asked.clear()
            for _ in range(20):
                await stub.ask(ASKED)
            return set(front.asked) == {1, 2}

        await wait_until(both_are_asked)


async def test_large_responses_that_a_stopping_server_owes_arrive_whole(front: Front) -> None:
    """gRPC closes a connection with the end of its last call, once it has sent GOAWAY."""
    server = front.servers[0]
    async with front.stub() as stub, grpc.aio.insecure_channel(server.address) as channel:
        held = Request(tenant_id="acme", text="held")
        calls = [asyncio.create_task(stub.ask(held)) for _ in range(16)]
        await wait_until(lambda: _held(front))
        draining = asyncio.create_task(server.server.drain())
        await wait_until(lambda: _stops(channel))
        front.answering.set()
        answers = await asyncio.gather(*calls)
        await draining

    assert {len(answer.text) for answer in answers} == {MEBIBYTE}


async def _held(front: Front) -> bool:
    return len(front.asked) == 16 and 1 in front.asked


async def _stops(channel: grpc.aio.Channel) -> bool:
    check = channel.unary_unary("/grpc.health.v1.Health/Check")
    try:
        return await check(b"") != SERVING
    except grpc.aio.AioRpcError:
        return True


@pytest.mark.parametrize("name", BALANCERS)
async def test_the_published_configuration_is_valid(name: str, tmp_path: Path) -> None:
    """Also that it names every service's port and both of its servers."""
    listen = {service: Address("127.0.0.1", free_port()) for service in SERVICES}
    pair = (Address("127.0.0.1", 1), Address("127.0.0.2", 1))
    balancer = BALANCERS[name](tmp_path, listen, {service: pair for service in SERVICES})
    await balancer.prepare()

    checking = await asyncio.create_subprocess_exec(
        *balancer.check().argv, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
    )
    _, said = await checking.communicate()
    assert checking.returncode == 0, said.decode()
