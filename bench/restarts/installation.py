"""Two processes of each service and two workers behind a load balancer, on a stack of their own."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.balancers import EnvoyBalancer, HaproxyBalancer, NginxBalancer
from tests.support.dns_server import running_dns_server

from bench.restarts.replicas import Replica
from nagaya.llm_gateway.v1 import catalog_service_pb2
from nagaya_client.client import Client
from nagaya_client.settings import Settings
from nagaya_client.tokens import Token
from nagaya_local.clone.choices import Choices
from nagaya_local.clone.layout import Layout
from nagaya_local.clone.providers import read_providers
from nagaya_local.clone.tokens import issue_operator_token
from nagaya_local.commands import clean, up
from nagaya_local.envoy.bootstrap import Address
from nagaya_local.machine.ports import PortBook, free_port
from nagaya_local.machine.running import running
from nagaya_local.names import INFRASTRUCTURE, SERVICES, WORKER
from nagaya_local.parts.health import EventLoopProbe, probe_grpc_health
from nagaya_local.supervisor.provider_addresses import CATALOG_SECONDS
from nagaya_local.supervisor.stack import Stack
from tls.address import ServerAddress

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping
    from pathlib import Path

    from nagaya_local.clone.endpoints import Endpoints

_PROGRAMS = {"envoy": EnvoyBalancer, "nginx": NginxBalancer, "haproxy": HaproxyBalancer}
BALANCERS = (*_PROGRAMS, "grpc")
HOSTS = ("127.0.0.1", "127.0.0.2")
"""Of the two processes of a service, on the same port: a name may have both addresses."""
_DRAIN_SECONDS = "3"
_BETWEEN_SECONDS = 2.0
"""After a process is ready, until the next may end: balancers look once a second."""
_PARTS = (*SERVICES, WORKER)


@dataclass(frozen=True, slots=True)
class Installation:
    """What runs, and where clients reach it."""

    layout: Layout
    endpoints: Endpoints
    replicas: Mapping[str, tuple[Replica, Replica]]
    """By service, and those of the worker."""
    addresses: Mapping[str, str]
    """Of the load balancer, by service; a name of both processes where there is none."""
    token: str

    def client(self) -> Client:
        by_name = {name.replace("-", "_"): address for name, address in self.addresses.items()}
        return Client.connect(Settings(by_name, Token(self.token)))

    async def roll(self, part: str) -> None:
        """Restart both processes of a service in order, one after the other."""
        for replica in self.replicas[part]:
            await replica.restart()
            await asyncio.sleep(_BETWEEN_SECONDS)

    async def kill(self, replica: Replica) -> None:
        """Kill one process with -9; another is started in its place."""
        await replica.kill()
        await asyncio.sleep(_BETWEEN_SECONDS)

    async def exchange(self, part: str, python: str) -> None:
        """Put processes of another build in the place of both, one after the other."""
        for replica in self.replicas[part]:
            replica.python = python
        await self.roll(part)


@asynccontextmanager
async def installed(
    folder: Path, balancer: str, python: str | None = None
) -> AsyncGenerator[Installation]:
    """Run everything below a folder for the block; `python` is the build's to begin with."""
    layout = Layout(folder)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(clean, layout, _say, lambda _: True)
        endpoints = await up(layout, _say, INFRASTRUCTURE)
        ports = PortBook(layout.ports).known
        addresses = await stack.enter_async_context(_balancer(folder, balancer, ports))
        replicas = _replicas(layout, ports, addresses)
        token = issue_operator_token(layout).read_text().strip()
        made = Installation(layout, endpoints, replicas, addresses, token)
        for pair in replicas.values():
            for replica in pair:
                replica.python = python or replica.python
        await _start(stack, replicas)
        await _set_providers(made)
        yield made


async def _start(stack: AsyncExitStack, replicas: Mapping[str, tuple[Replica, Replica]]) -> None:
    """Start all, in any order; they end together, the workers before whom they use."""
    services = [replica for part in SERVICES for replica in replicas[part]]
    for together in (services, replicas[WORKER]):
        stack.push_async_callback(_stop, together)
    async with asyncio.TaskGroup() as tasks:
        for replica in (*services, *replicas[WORKER]):
            tasks.create_task(replica.start())


async def _stop(replicas: Iterable[Replica]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for replica in replicas:
            tasks.create_task(replica.stop())


@asynccontextmanager
async def _balancer(
    folder: Path, name: str, ports: Mapping[str, int]
) -> AsyncGenerator[dict[str, str]]:
    """Run a load balancer for the block, and yield the address of each service."""
    listen = {part: Address(HOSTS[0], ports[f"envoy-{part}"]) for part in SERVICES}
    servers = {part: tuple(Address(host, ports[part]) for host in HOSTS) for part in SERVICES}
    place = folder / "balancer"
    if name == "grpc":
        async with running_dns_server() as dns:
            dns.names = {f"{service}.test": HOSTS for service in SERVICES}
            at = f"dns://127.0.0.1:{dns.port}"
            yield {service: f"{at}/{service}.test:{ports[service]}" for service in SERVICES}
        return
    program = _PROGRAMS[name](place, listen, servers)
    async with running(program, folder / f"{name}.log"):
        yield {service: f"{at.host}:{at.port}" for service, at in listen.items()}


def _replicas(
    layout: Layout, ports: Mapping[str, int], addresses: Mapping[str, str]
) -> dict[str, tuple[Replica, Replica]]:
    """Make both processes of each service from the settings that the local stack would give."""
    choices = Choices.read({}, ports, INFRASTRUCTURE)
    parts = {part.name: part for part in Stack(layout, choices, ports).parts()}
    peers = {
        f"NAGAYA_{name.replace('-', '_').upper()}_ADDRESS": address
        for name, address in addresses.items()
    }

    def replica(part: str, number: int) -> Replica:
        command = parts[part].program.command()
        if command is None:
            raise ValueError(f"{part} runs elsewhere")
        name = f"{part}-{number + 1}"
        metrics = free_port()
        own = {name: peers[name] for name in command.environment if name in peers}
        settings = own | {
            "NAGAYA_METRICS_PORT": str(metrics),
            "NAGAYA_DRAIN_SECONDS": _DRAIN_SECONDS,
            "NAGAYA_PROCESSES_PER_SERVICE": "6",
        }
        if part == WORKER:
            return Replica(
                name, command, settings, layout.log(name), lambda: EventLoopProbe(metrics)
            )
        address = ServerAddress(HOSTS[number], ports[part])
        settings |= {"NAGAYA_LISTEN": str(address), "NAGAYA_ENDPOINT": str(address)}

        async def ask() -> None:
            await probe_grpc_health(address, name)

        return Replica(name, command, settings, layout.log(name), lambda: ask)

    return {part: (replica(part, 0), replica(part, 1)) for part in _PARTS}


async def _set_providers(made: Installation) -> None:
    """Have the stub play every provider, and wait until each process knows."""
    wanted = {provider.id: provider for provider in read_providers(made.layout)}
    async with made.client() as client:
        request = catalog_service_pb2.ListProvidersRequest(page_size=200)
        for provider in (await client.catalog.ListProviders(request)).providers:
            provider.api_base_url, provider.active = wanted[provider.provider_id].api_base_url, True
            change = catalog_service_pb2.SetProviderRequest(provider=provider)
            await client.catalog.SetProvider(change)
    await asyncio.sleep(CATALOG_SECONDS)


def _say(line: str) -> None:
    """Leave out how the parts come up."""
