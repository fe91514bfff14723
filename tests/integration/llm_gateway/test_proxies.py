"""Whatever stands in front of the gateway: a provider that fails is not paid for again and again.

The provider's own count is the judge, and the ledger agrees with it.
"""

from __future__ import annotations

import asyncio
import http.client
import shutil
import subprocess
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import pytest
from tests.support.catalog import SCRIPTED
from tests.support.gateway_client import REDO, by_id
from tests.support.processes import ROOT
from tests.support.provider_streams import CLAUDE
from tests.support.proxies import EagerEnvoy, Nginx
from tests.support.scripted_provider import Close, Reply, Reset

from nagaya.llm_gateway.v1 import generation_service_pb2 as pb
from nagaya.llm_gateway.v1 import generation_service_pb2_grpc as stubs
from nagaya_local.envoy.bootstrap import Address, ProxiedService
from nagaya_local.envoy.contracts import methods_of
from nagaya_local.machine.ports import free_port
from nagaya_local.machine.running import running_from_sync
from nagaya_local.parts.envoy import EnvoyServer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from pathlib import Path

    from tests.support.gateway_client import GatewayClient
    from tests.support.gateway_stack import GatewayStack
    from tests.support.scripted_provider import ScriptedProvider

MOST = 3
HALF = (CLAUDE.began(), CLAUDE.delta("half of "))
FAILURES = {
    "502": Reply(("<html>bad gateway</html>",), "502 Bad Gateway", "text/html"),
    "503": Reply.of_json({"error": {"message": "away"}}, "503 Service Unavailable"),
    "reset midway": Reply((*HALF, Reset())),
    "closed midway": Reply((*HALF, Close())),
}
FRONTS = ("our envoy", "eager envoy", "nginx")
GENERATE = "/nagaya.llm_gateway.v1.GenerationService/Generate"
# The first build fetches and compiles gRPC for Go: two minutes on two cores, once.
pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True)
class Proxies:
    """Two gateways, and where each load balancer listens in front of both."""

    by_name: dict[str, str]
    gateway: str
    """One of the two, without anything in front of it."""
    admin_port: int
    """Of our Envoy."""

    def healthy(self) -> int:
        """How many gateways our Envoy sends calls to."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=5)
        connection.request("GET", "/stats?filter=llm-gateway.membership_healthy")
        output = connection.getresponse().read().decode()
        connection.close()
        return int(output.partition(": ")[2])


@pytest.fixture(scope="module")
def proxies(stack: GatewayStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxies]:
    folder = tmp_path_factory.mktemp("proxies")
    servers = [Address.parse(gateway.address) for gateway in stack.gateways]
    listen = {name: Address("127.0.0.1", free_port()) for name in FRONTS}
    admin_port, other_admin_port = free_port(), free_port()

    def front(name: str) -> tuple[ProxiedService]:
        methods = methods_of("nagaya.llm_gateway.v1")
        return (ProxiedService("llm-gateway", listen[name], tuple(servers), methods),)

    ours = EnvoyServer(folder / "ours", front("our envoy"), admin_port)
    eager = EagerEnvoy(folder / "eager", front("eager envoy"), other_admin_port)
    nginx = Nginx(folder / "nginx", listen["nginx"], servers)
    with ExitStack() as started:
        for name, program in (("ours", ours), ("eager", eager), ("nginx", nginx)):
            (folder / name).mkdir()
            started.enter_context(running_from_sync(program, folder / f"{name}.log"))
        addresses = {name: f"{at.host}:{at.port}" for name, at in listen.items()}
        yield Proxies(addresses, stack.gateways[0].address, admin_port)


@pytest.fixture(scope="session")
def go_caller(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of tests/support/go_caller, built with the Go client's versions."""
    go = shutil.which("go")
    assert go is not None, "Go 1.24 or newer is needed: https://go.dev/dl"
    module = tmp_path_factory.mktemp("go-caller")
    for file in ("clients/go/go.mod", "clients/go/go.sum", "tests/support/go_caller/main.go"):
        shutil.copy(ROOT / file, module)
    build = (go, "build", "-mod=readonly", "-o", "caller", ".")
    subprocess.run(build, cwd=module, check=True)
    return module / "caller"


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("front", FRONTS)
async def test_a_failing_provider_is_asked_three_times_whatever_stands_in_front(
    proxies: Proxies, scripted: ScriptedProvider, client: GatewayClient, front: str, failure: str
) -> None:
    scripted.script(client.word, FAILURES[failure])
    async with generations(proxies.by_name[front]) as stub:
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.Generate(request(client), timeout=60, metadata=credentials(client))

    await assert_asked_at_most_three_times(scripted, client)


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("front", ["nothing", "eager envoy", "nginx"])
async def test_a_go_client_that_retries_every_code_does_not_multiply_what_is_sent(
    proxies: Proxies,
    go_caller: Path,
    scripted: ScriptedProvider,
    client: GatewayClient,
    front: str,
    failure: str,
) -> None:
    scripted.script(client.word, FAILURES[failure])
    address = proxies.gateway if front == "nothing" else proxies.by_name[front]
    token = dict(credentials(client))["authorization"].removeprefix("Bearer ")
    caller = await asyncio.create_subprocess_exec(
        go_caller,
        *(address, GENERATE, token),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await caller.communicate(request(client).SerializeToString())

    assert output.decode().strip() == "Unavailable"
    await assert_asked_at_most_three_times(scripted, client)


@pytest.mark.parametrize("failure", FAILURES)
async def test_a_client_that_heeds_nothing_does_not_multiply_what_is_sent(
    proxies: Proxies, scripted: ScriptedProvider, client: GatewayClient, failure: str
) -> None:
    scripted.script(client.word, FAILURES[failure])
    async with generations(proxies.by_name["our envoy"]) as stub:
        for _ in range(10):
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.Generate(request(client), timeout=60, metadata=credentials(client))

    await assert_asked_at_most_three_times(scripted, client)


async def test_refusals_about_one_provider_eject_no_gateway(
    proxies: Proxies, scripted: ScriptedProvider, client: GatewayClient
) -> None:
    scripted.script(client.word, FAILURES["503"])
    async with generations(proxies.by_name["our envoy"]) as stub:

        async def refused(number: int) -> grpc.StatusCode:
            try:
                await stub.Generate(
                    request(client, number), timeout=60, metadata=credentials(client)
                )
            except grpc.aio.AioRpcError as error:
                return error.code()
            raise AssertionError("it was answered")

        codes = await asyncio.gather(*map(refused, range(1, 21)))
        assert set(codes) == {grpc.StatusCode.UNAVAILABLE}

        scripted.script(client.word, Reply(CLAUDE.whole("well")))
        others = await asyncio.gather(
            *(
                stub.Generate(request(client, number), timeout=60, metadata=credentials(client))
                for number in range(101, 121)
            )
        )

    assert len(others) == 20
    assert proxies.healthy() == 2


@asynccontextmanager
async def generations(address: str) -> AsyncGenerator[stubs.GenerationServiceStub]:
    """Open a channel that repeats nothing, so that only what stands in front does."""
    options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(address, options) as channel:
        yield stubs.GenerationServiceStub(channel)


def request(client: GatewayClient, call: int = 1) -> pb.GenerateRequest:
    """A request that wants to be made again when nobody knows what became of it."""
    spec = client.spec(call=call, model=by_id(SCRIPTED["claude"]), unknown_policy=REDO)
    return pb.GenerateRequest(tenant_id=client.tenant_id, spec=spec)


def credentials(client: GatewayClient) -> list[tuple[str, str]]:
    token = client.stack.keys.signer("runs").token(client.tenant_id, "ada")
    return [("authorization", f"Bearer {token}")]


async def assert_asked_at_most_three_times(
    scripted: ScriptedProvider, client: GatewayClient
) -> None:
    """Compare the provider's count with what is promised, and with the ledger."""
    asked = len(scripted.requests(client.word))
    call = await client.get_call()

    assert asked <= MOST
    assert [attempt.attempt for attempt in call.attempts] == list(range(1, asked + 1))
