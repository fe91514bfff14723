"""The whole stack for tests: every part in its own process, reached as a customer reaches it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from tests.support.installed_functions import install_functions
from tests.support.installed_graphs import install_graphs
from tests.support.people import running_people
from tests.support.postgres import folder_in_memory
from tests.support.provider_stub import StubControl

from nagaya.tenant.v1 import tenant_service_pb2
from nagaya_client.client import Client
from nagaya_client.settings import local_stack_settings
from nagaya_local.clone.certificates import Certificates
from nagaya_local.clone.layout import Layout
from nagaya_local.clone.tokens import OPERATOR, token_file
from nagaya_local.commands import down, up
from tls.address import ServerAddress
from tls.credentials import Connection

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from pathlib import Path

    import grpc

    from nagaya_local.clone.endpoints import Endpoints
    from tls.config import ClientTls


TLS = os.environ.get("NAGAYA_TEST_TLS") == "1"
"""Whether the stacks of tests speak TLS only, for people of an OpenID Connect provider."""


@dataclass(frozen=True)
class LocalStack:
    """A stack that runs."""

    layout: Layout
    endpoints: Endpoints

    @property
    def stub(self) -> StubControl:
        return StubControl(self.endpoints.llmstub_url)

    @property
    def pids(self) -> dict[str, int]:
        """The processes by part, the supervisor among them."""
        return json.loads(self.layout.pids.read_text())

    def client(self) -> Client:
        return Client.connect(local_stack_settings(self.layout.root))

    def environment(self, *, direct: bool = False) -> dict[str, str]:
        """Return what a client in a process of its own reads: addresses, and the operator's token.

        The addresses are those of Envoy, or with `direct` those of the services.
        """
        own = self.tls.own if self.tls is not None else None
        return {
            "NAGAYA_TOKEN_FILE": str(token_file(self.layout, OPERATOR)),
            "NAGAYA_CA_FILE": self.endpoints.ca_file,
            "NAGAYA_TLS_CERT_FILE": str(own.cert_file) if own is not None and direct else "",
            "NAGAYA_TLS_KEY_FILE": str(own.key_file) if own is not None and direct else "",
        } | {
            f"NAGAYA_{name.replace('-', '_').upper()}_ADDRESS": str(
                self.address(name, direct=direct)
            )
            for name in ("tenant", "runs", "artifacts", "llm-gateway")
        }

    def curl(self, service: str, method: str) -> tuple[str, ...]:
        """Return the arguments with which `buf curl` calls a method, its full name, by Envoy."""
        ca_file = self.endpoints.ca_file
        how = ("--cacert", ca_file) if ca_file else ("--http2-prior-knowledge",)
        address = self.address(service)
        scheme = "http" if address.tls is None else "https"
        return (*how, f"{scheme}://{address.target}/{method}")

    @property
    def tls(self) -> ClientTls | None:
        """How its servers are verified, with a certificate that names no workload."""
        return Certificates(self.layout.keys, used=bool(self.endpoints.ca_file)).supervisor

    def address(self, service: str, *, direct: bool = False) -> ServerAddress:
        """Return where a service is: behind Envoy, or with `direct` itself."""
        ports = json.loads(self.layout.ports.read_text())
        return ServerAddress(
            "127.0.0.1", ports[service if direct else f"envoy-{service}"], self.tls
        )

    def channel(
        self,
        service: str,
        options: Sequence[tuple[str, int | str]] = (),
        *,
        direct: bool = False,
    ) -> grpc.aio.Channel:
        """Open a channel of gRPC's own to a service."""
        return Connection(self.address(service, direct=direct), options).current()

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

    Its databases are in memory. Beside the worker the functions are installed that tests call. With
    NAGAYA_TEST_TLS=1 everything speaks TLS, and whoever calls has a token of an OpenID Connect
    provider.
    """
    layout = Layout(folder)
    functions = folder / "functions"
    install_functions(functions)
    install_graphs(functions)
    layout.data.mkdir(parents=True)
    with ExitStack() as parts:
        layout.postgres.symlink_to(parts.enter_context(folder_in_memory(folder / "postgres")))
        if TLS:
            # As long as the stack runs: what tests start in its folder chooses the same.
            chosen = parts.enter_context(pytest.MonkeyPatch.context())
            people = parts.enter_context(running_people(folder / "people"))
            _set(chosen, {"NAGAYA_DEV_TLS": "true", **people.environment})
        parts.callback(lambda: asyncio.run(down(layout, _say)))
        with pytest.MonkeyPatch.context() as patch:
            _set(patch, {**environment, "PYTHONPATH": str(functions)})
            endpoints = asyncio.run(up(layout, _say))
        yield LocalStack(layout, endpoints)


def _set(patch: pytest.MonkeyPatch, environment: Mapping[str, str]) -> None:
    for name, value in environment.items():
        patch.setenv(name, value)


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
