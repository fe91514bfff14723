"""The gateway as it runs: its own processes beside the real tenant and artifacts services, real
PostgreSQL and S3, and the provider stub in a process of its own, whose call log is the judge.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import asyncpg
from tests.support.catalog import SCRIPTED
from tests.support.processes import ROOT, Process, ServiceProcess
from tests.support.provider_stub import ProviderStub

from dataplane import migrations
from nagaya.tenant.v1 import tenant_service_pb2, tenant_service_pb2_grpc
from servicekit.channel import open_channel
from servicekit.testing import Keys

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    import grpc

    from nagaya_local.parts.postgres import PostgresServer
    from nagaya_local.parts.s3 import S3Server

TENANTS = ("acme", "globex")
PROVIDER_KEYS = {
    name: f"key-of-{name}-CANARY" for name in ("claude", "gemini", "openai", *SCRIPTED.values())
}


@dataclass
class GatewayStack:
    """Everything that one test process starts, once."""

    folder: Path
    postgres: PostgresServer
    s3: S3Server
    management_url: str
    keys: Keys = field(init=False)
    processes: list[Process] = field(default_factory=list)
    gateways: tuple[ServiceProcess, ...] = ()
    databases: dict[str, str] = field(default_factory=dict)
    """By tenant."""

    def __post_init__(self) -> None:
        self.keys = Keys(self.folder)
        self.keys_file = self._secret("provider-keys.json", PROVIDER_KEYS)
        ring = {"active": "k1", "keys": {"k1": base64.b64encode(secrets.token_bytes(32)).decode()}}
        self.ring_file = self._secret("keyring.json", ring)
        self.tenant = self._service("tenant", "tenant", self._tenant_env())
        self.artifacts = self._service("artifacts", "artifacts", self._artifacts_env())
        self.stub = ProviderStub(self.folder)

    @property
    def management_name(self) -> str:
        return self.management_url.rpartition("/")[2]

    def gateway(self, name: str = "llm-gateway", **env: str) -> ServiceProcess:
        """Prepare one more process of the gateway."""
        settings = {
            "NAGAYA_TENANT_ADDRESS": self.tenant.address,
            "NAGAYA_ARTIFACTS_ADDRESS": self.artifacts.address,
            "NAGAYA_WORKLOAD_KEY_FILE": str(self.keys.key_file("llm-gateway")),
            "NAGAYA_PROVIDER_KEYS_FILE": str(self.keys_file),
            "NAGAYA_PROVIDER_HTTP_HOSTS": "127.0.0.1",
            "NAGAYA_LEASE_SECONDS": "2",
            "NAGAYA_SHUTDOWN_GRACE_SECONDS": "2",
            "NAGAYA_RETRY_RESERVE": "1000",
            **env,
        }
        server = self._service(name, "llm_gateway", settings)
        self.processes.append(server)
        return server

    def start(self, process: Process) -> None:
        process.start()
        self.processes.append(process)

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.stop()

    def person(self, server: ServiceProcess) -> grpc.aio.Channel:
        """Open a channel as a person who may do everything."""
        return open_channel(server.address, None, self.keys.token())

    def workload(self, server: ServiceProcess, name: str) -> grpc.aio.Channel:
        return open_channel(server.address, self.keys.signer(name))

    async def database(self, name: str) -> asyncpg.Connection[asyncpg.Record]:
        """Look into a database as a superuser."""
        return await asyncpg.connect(self.postgres.superuser_url(name))

    def _service(self, name: str, module: str, env: dict[str, str]) -> ServiceProcess:
        return ServiceProcess(name, module, self.keys, self.folder, env)

    def _secret(self, name: str, content: object) -> Path:
        path = self.folder / name
        path.write_text(json.dumps(content))
        path.chmod(0o600)
        return path

    def _tenant_env(self) -> dict[str, str]:
        return {
            "NAGAYA_WORKLOAD_KEY_FILE": str(self.keys.key_file("tenant")),
            "NAGAYA_PG_URL": self.management_url,
            "NAGAYA_KEYRING_FILE": str(self.ring_file),
            "NAGAYA_REQUIRED_SERVICES": "runs,llm-gateway",
            # Two gateways stay, tests start up to two more, and a killed one's connections last.
            "NAGAYA_PROCESSES_PER_SERVICE": "5",
            "NAGAYA_CONNECTIONS_PER_ROLE": "50",
        }

    def _artifacts_env(self) -> dict[str, str]:
        return {
            "NAGAYA_WORKLOAD_KEY_FILE": str(self.keys.key_file("artifacts")),
            "NAGAYA_TENANT_ADDRESS": self.tenant.address,
            "S3_ENDPOINT": self.s3.endpoint,
            "S3_ACCESS_KEY": self.s3.keys.access_key,
            "S3_SECRET_KEY": self.s3.keys.secret_key,
        }


@contextmanager
def running_gateway_stack(
    folder: Path, postgres: PostgresServer, s3: S3Server
) -> Generator[GatewayStack]:
    """Start the services, two gateways among them, and create the tenants.

    The second gateway gives a silent provider up after a second.
    """
    management = postgres.create_management_database(f"nagaya_{secrets.token_hex(4)}")
    stack = GatewayStack(folder, postgres, s3, asyncio.run(management))
    try:
        stack.start(stack.stub)
        stack.start(stack.tenant)
        asyncio.run(_publish_runs(stack))
        stack.start(stack.artifacts)
        limits = ("NAGAYA_PROVIDER_FIRST_BYTE_SECONDS", "NAGAYA_PROVIDER_IDLE_SECONDS")
        stack.gateways = (
            stack.gateway("first"),
            stack.gateway("second-of-short-timeouts", **dict.fromkeys(limits, "1")),
        )
        for gateway in stack.gateways:
            gateway.start()
        asyncio.run(_create_tenants(stack))
        yield stack
    finally:
        stack.stop()


async def _publish_runs(stack: GatewayStack) -> None:
    files = migrations.read_migrations(ROOT / "services" / "runs" / "migrations")
    async with stack.workload(stack.tenant, "runs") as channel:
        await migrations.publish(channel, "runs", files)


async def _create_tenants(stack: GatewayStack) -> None:
    async with stack.person(stack.tenant) as channel:
        tenants = tenant_service_pb2_grpc.TenantServiceStub(channel)
        for tenant_id in TENANTS:
            request = tenant_service_pb2.CreateTenantRequest(
                tenant_id=tenant_id, request_id=tenant_id, name=tenant_id
            )
            response = await tenants.CreateTenant(request)
            stack.databases[tenant_id] = response.tenant.database
