"""nginx and HAProxy with TLS on both sides, by the lines of their pages."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from tests.support.balancers import FOLDER, HaproxyBalancer, NginxBalancer
from tests.support.certificates import LOOPBACK, TRUST_DOMAIN, CertificateFiles
from tests.support.waiting import wait_until
from tests.unit.interceptor.probe import Answer, Request, Stub, binding

from interceptor.testing import serve
from nagaya_local.envoy.bootstrap import Address
from nagaya_local.machine.ports import free_port
from nagaya_local.machine.running import running
from nagaya_local.names import SERVICES
from servicekit.channel import open_channel
from servicekit.testing import Keys
from tls.address import ServerAddress
from tls.config import ServerTls

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from interceptor.server import Binding
    from interceptor.testing import RunningServer

SERVICE = "runs"
"""The one that the pages have TLS for, and the name in its servers' certificates."""
ASKED = Request(tenant_id="acme", text="well")


class NginxByTls(NginxBalancer):
    """nginx.conf, with the page's server in the place of the one without TLS."""

    async def prepare(self) -> None:
        await super().prepare()
        published = _by_tls("nginx.md", self._listen[SERVICE], self._folder)
        text = self.config.read_text()
        servers = re.findall(r"^    server \{\n.*?^    \}\n", text, re.DOTALL | re.MULTILINE)
        (plain,) = (server for server in servers if f"grpc_pass grpc://{SERVICE};" in server)
        self.config.write_text(text.replace(plain, published))


class HaproxyByTls(HaproxyBalancer):
    """haproxy.cfg, with the page's section in the place of the one without TLS."""

    async def prepare(self) -> None:
        await super().prepare()
        published = _by_tls("haproxy.md", self._listen[SERVICE], self._folder)
        for index, server in enumerate(self._servers[SERVICE], 1):
            published = published.replace(
                f" {SERVICE}-{index}:7000", f" {server.host}:{server.port}"
            )
        text = self.config.read_text()
        (plain,) = re.findall(rf"^listen {SERVICE}\n(?: .*\n)+", text, re.MULTILINE)
        self.config.write_text(text.replace(plain, published))


def _by_tls(page: str, listen: Address, folder: Path) -> str:
    """Return a page's lines about TLS, for a listener and the files of a test."""
    (lines,) = re.findall(r"## TLS\n.*?```\n(.*?)```", (FOLDER / page).read_text(), re.DOTALL)
    lines = re.sub(r"0\.0\.0\.0:\d+", f"{listen.host}:{listen.port}", lines)
    return re.sub(r"/etc/(?:nginx|haproxy)/", f"{folder.parent}/", lines)


BALANCERS = {"nginx": NginxByTls, "haproxy": HaproxyByTls}


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


@pytest.fixture
def files(tmp_path: Path) -> CertificateFiles:
    """Those of the pages: the balancer's own, and the authority of all."""
    made = CertificateFiles(tmp_path, "ca")
    own = made.issue("nagaya", *LOOPBACK)
    with own.cert_file.open("ab") as both:  # in one file, as HAProxy wants them
        both.write(own.key_file.read_bytes())
    return made


class Front:
    """A load balancer in front of two servers that want certificates of whoever connects."""

    def __init__(self, program: str, keys: Keys, files: CertificateFiles) -> None:
        self.asked = list[int]()
        """Which of the servers was asked, call for call."""
        self._program, self._keys, self._files = program, keys, files

    @asynccontextmanager
    async def running(self, *hosts: str) -> AsyncGenerator[tuple[Stub, list[RunningServer]]]:
        """Run it in front of a server with a certificate for each of these hosts."""
        folder = self._files.folder / "balancer"
        async with AsyncExitStack() as stack:
            servers = [
                await stack.enter_async_context(
                    serve(self._keys, self._behaviour(number), tls=self._tls(number, host))
                )
                for number, host in enumerate(hosts, 1)
            ]
            listen = {service: Address("127.0.0.1", free_port()) for service in SERVICES}
            at = [Address.parse(server.address) for server in servers]
            balancer = BALANCERS[self._program](folder, listen, dict.fromkeys(SERVICES, at))
            await stack.enter_async_context(running(balancer, folder.with_suffix(".log")))
            address = f"https://localhost:{listen[SERVICE].port}"
            token = self._keys.token("ada", scope="*", tenants=("*",))
            channel = await stack.enter_async_context(
                open_channel(ServerAddress.parse(address, self._files.client()), None, token)
            )
            yield Stub(channel), servers

    def _behaviour(self, number: int) -> Binding:
        async def ask(_: Request, __: object) -> Answer:
            self.asked.append(number)
            return Answer(text="well")

        return binding(Ask=ask)

    def _tls(self, number: int, host: str) -> ServerTls:
        own = self._files.issue(f"server-{number}", host)
        return ServerTls(own, self._files.ca_file, TRUST_DOMAIN)


@pytest.fixture(params=BALANCERS)
def front(request: pytest.FixtureRequest, keys: Keys, files: CertificateFiles) -> Front:
    return Front(request.param, keys, files)


async def test_calls_go_to_both_servers_by_tls(front: Front) -> None:
    async with front.running(SERVICE, SERVICE) as (stub, _):

        async def both_are_asked() -> bool:
            await stub.ask(ASKED)
            return set(front.asked) == {1, 2}

        await wait_until(both_are_asked)


async def test_a_server_whose_certificate_is_for_another_name_is_not_asked(front: Front) -> None:
    async with front.running("artifacts", SERVICE) as (stub, _):
        for _ in range(20):
            await stub.ask(ASKED)

    assert set(front.asked) == {2}


@pytest.mark.parametrize("front", ["haproxy"], indirect=True)
async def test_health_is_asked_by_tls(front: Front) -> None:
    async with front.running(SERVICE, SERVICE) as (stub, servers):

        async def only_these_are_asked(*numbers: int) -> bool:
            front.asked.clear()
            for _ in range(20):
                await stub.ask(ASKED)
            return set(front.asked) == set(numbers)

        await servers[0].server.set_serving(False)
        await wait_until(lambda: only_these_are_asked(2))
        await servers[0].server.set_serving(True)
        await wait_until(lambda: only_these_are_asked(1, 2))
