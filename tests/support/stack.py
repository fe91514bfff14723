"""The whole stack for tests: every part in its own process, reached as a customer reaches it."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from tests.support.installed_functions import install_functions
from tests.support.installed_graphs import install_graphs
from tests.support.provider_stub import StubControl

from nagaya.tenant.v1 import tenant_service_pb2
from nagaya_client.client import Client
from nagaya_client.settings import local_stack_settings
from nagaya_local.clone.layout import Layout
from nagaya_local.clone.tokens import OPERATOR, token_file
from nagaya_local.commands import down, up

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from nagaya_local.clone.endpoints import Endpoints


@dataclass(frozen=True)
class LocalStack:
    """A stack that runs."""

    layout: Layout
    endpoints: Endpoints

    @property
    def stub(self) -> StubControl:
        return StubControl(self.endpoints.llmstub_url)

    def client(self) -> Client:
        return Client.connect(local_stack_settings(self.layout.root))

    def environment(self, *, direct: bool = False) -> dict[str, str]:
        """Return what a client in a process of its own reads: addresses, and the operator's token.

        The addresses are those of Envoy, or with `direct` those of the services.
        """
        services = ("tenant", "runs", "artifacts", "llm-gateway")
        ports = json.loads(self.layout.ports.read_text())
        front = "" if direct else "envoy-"
        return {"NAGAYA_TOKEN_FILE": str(token_file(self.layout, OPERATOR))} | {
            f"NAGAYA_{name.replace('-', '_').upper()}_ADDRESS": f"127.0.0.1:{ports[front + name]}"
            for name in services
        }

    def calls(self) -> list[dict[str, Any]]:
        """Return the lines of the stub's own log."""
        path = self.layout.llmstub / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()]

    def requests_of(self, run_id: str) -> int:
        """Return how many requests a run's calls have sent to the stub."""
        return sum((line.get("idempotency") or "").startswith(run_id) for line in self.calls())

    def whole_replies(self) -> set[str]:
        """Return the attempts whose replies the stub has sent whole, by their names on the wire."""
        lines = self.calls()
        names = {line["seq"]: line["idempotency"] for line in lines if line["event"] == "begin"}
        return {
            names[line["seq"]] or ""
            for line in lines
            if line["event"] == "end" and line["outcome"] == "ok"
        }

    def file(self, path: str) -> Path:
        """Return where the object store keeps a file."""
        return self.layout.s3 / path

    async def database(self, client: Client, tenant_id: str) -> asyncpg.Connection[asyncpg.Record]:
        """Open a tenant's database as the provisioner, past every service."""
        request = tenant_service_pb2.GetTenantRequest(tenant_id=tenant_id)
        tenant = (await client.tenants.GetTenant(request)).tenant
        management = self.endpoints.pg_url.rpartition("/")[0]
        return await asyncpg.connect(f"{management}/{tenant.database}")


@contextmanager
def running_stack(folder: Path, **environment: str) -> Generator[LocalStack]:
    """Start every part in a folder, with these variables set; end whatever was started.

    Beside the worker the functions are installed that tests call.
    """
    layout = Layout(folder)
    functions = folder / "functions"
    install_functions(functions)
    install_graphs(functions)
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {**environment, "PYTHONPATH": str(functions)}.items():
                patch.setenv(name, value)
            endpoints = asyncio.run(up(layout, _say))
        yield LocalStack(layout, endpoints)
    finally:
        asyncio.run(down(layout, _say))


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
