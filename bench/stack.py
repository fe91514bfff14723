"""A stack of this build with data of its own, for as long as a block lasts."""

from __future__ import annotations

import json
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nagaya.tenant.v1 import tenant_service_pb2
from nagaya_client.client import Client
from nagaya_client.settings import Settings
from nagaya_client.tokens import Token
from nagaya_local.clone.layout import Layout
from nagaya_local.clone.tokens import issue_operator_token
from nagaya_local.commands import clean, up
from nagaya_local.machine.ports import PortBook
from nagaya_local.names import SERVICES

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from nagaya_local.clone.endpoints import Endpoints

__all__ = ["CLONE", "SERVICES", "Stack", "create_tenant", "our_stack"]

CLONE = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Stack:
    """A running stack. Its services are called without Envoy, as peers without a proxy."""

    layout: Layout
    endpoints: Endpoints
    token: str

    @property
    def pids(self) -> dict[str, int]:
        """The processes by part."""
        return json.loads(self.layout.pids.read_text())

    def address(self, service: str) -> str:
        return f"127.0.0.1:{PortBook(self.layout.ports).known[service]}"

    def client(self) -> Client:
        addresses = {name.replace("-", "_"): self.address(name) for name in SERVICES}
        return Client.connect(Settings(addresses, Token(self.token)))


@asynccontextmanager
async def our_stack(parts: tuple[str, ...] = ()) -> AsyncGenerator[Stack]:
    """Start this build, only `parts` of it if given, in a temporary folder; end and delete it."""
    with tempfile.TemporaryDirectory(prefix="nagaya-bench-") as name:
        layout = Layout(Path(name))
        try:
            endpoints = await up(layout, _say, parts)
            yield Stack(layout, endpoints, issue_operator_token(layout).read_text().strip())
        finally:
            await clean(layout, _say, lambda _: True)


async def create_tenant(nagaya: Client, tenant_id: str) -> None:
    """Create a tenant."""
    request = tenant_service_pb2.CreateTenantRequest(
        tenant_id=tenant_id, request_id=tenant_id, name="Benchmark"
    )
    await nagaya.tenants.CreateTenant(request)


def _say(line: str) -> None:
    """Leave out how the parts come up."""
