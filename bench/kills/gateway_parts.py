"""What the gateway's kill run stands on: PostgreSQL, S3, services and two gateways of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.support.catalog import provider
from tests.support.gateway_stack import TENANTS, GatewayStack
from tests.support.processes import ROOT

from bench.kills.provider_process import ProviderProcess
from dataplane import migrations
from nagaya.llm_gateway.v1 import catalog_service_pb2, catalog_service_pb2_grpc, model_pb2
from nagaya.tenant.v1 import tenant_service_pb2, tenant_service_pb2_grpc
from nagaya_local.errors import PartFailed
from nagaya_local.machine import processes
from nagaya_local.machine.ports import free_port
from nagaya_local.machine.running import running, start
from nagaya_local.parts.postgres import PostgresServer
from nagaya_local.parts.s3 import S3Server

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from tests.support.processes import ServiceProcess

LEASE_SECONDS = 2.0
_RESTART_SECONDS = 60.0
_PROVIDER = "claude"
_GATEWAY_SETTINGS = {
    "NAGAYA_LEASE_SECONDS": str(LEASE_SECONDS),
    "NAGAYA_RETRY_RESERVE": "100000",
    "NAGAYA_RETRY_PAUSE_SECONDS": "1",
}


class KillablePostgres:
    """A PostgreSQL server that is killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.server = PostgresServer(folder / "postgres", free_port())
        self.log = folder / "postgres.log"
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it, again and again while what a killed one left is not gone. Raises PartFailed."""
        until = time.monotonic() + _RESTART_SECONDS
        while True:
            try:
                self._process = await start(self.server, self.log)
            except PartFailed:
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(0.1)
            else:
                return

    async def kill(self) -> None:
        """Kill the postmaster with -9; its backends find out by themselves."""
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGKILL)
            await asyncio.to_thread(self._process.wait)

    async def stop(self) -> None:
        if self._process is not None:
            await processes.stop(self._process, self.server.stopping)


class KillableGateway:
    """A process of the gateway; one thing at a time happens to it."""

    def __init__(self, process: ServiceProcess) -> None:
        self.process = process
        self._busy = asyncio.Lock()

    async def kill(self) -> None:
        """Kill it with -9, and start it again."""
        async with self._busy:
            await asyncio.to_thread(self.process.kill)
            await self._start()

    async def freeze(self, seconds: float) -> None:
        """Let it stand still for so long."""
        async with self._busy:
            os.kill(self.process.pid, signal.SIGSTOP)
            try:
                await asyncio.sleep(seconds)
            finally:
                os.kill(self.process.pid, signal.SIGCONT)

    async def _start(self) -> None:
        """Start it; it ends when it finds no database, so it may take several tries."""
        until = time.monotonic() + _RESTART_SECONDS
        while True:
            try:
                await asyncio.to_thread(self.process.start)
            except RuntimeError:
                if time.monotonic() > until:
                    raise
                await asyncio.to_thread(self.process.stop)
            else:
                return


class GatewayParts:
    """Everything that runs."""

    def __init__(self, stack: GatewayStack, postgres: KillablePostgres, folder: Path) -> None:
        self.stack = stack
        self.postgres = postgres
        self.gateways = [
            KillableGateway(stack.gateway(name, **_GATEWAY_SETTINGS))
            for name in ("first", "second")
        ]
        self.provider = ProviderProcess(folder)

    async def start(self) -> None:
        stack = self.stack
        await asyncio.to_thread(stack.start, self.provider)
        await asyncio.to_thread(stack.start, stack.tenant)
        files = migrations.read_migrations(ROOT / "services" / "runs" / "migrations")
        async with stack.workload(stack.tenant, "runs") as channel:
            await migrations.publish(channel, "runs", files)
        await asyncio.to_thread(stack.start, stack.artifacts)
        for gateway in self.gateways:
            await asyncio.to_thread(gateway.process.start)
            await self._set_provider(gateway)  # in effect at once in the process that is told
        await self._create_tenants()

    async def _set_provider(self, gateway: KillableGateway) -> None:
        each = provider(_PROVIDER, self.provider.url, model_pb2.WIRE_FORMAT_CLAUDE_MESSAGES)
        async with self.stack.person(gateway.process) as channel:
            catalog = catalog_service_pb2_grpc.CatalogServiceStub(channel)
            await catalog.SetProvider(catalog_service_pb2.SetProviderRequest(provider=each))

    async def _create_tenants(self) -> None:
        async with self.stack.person(self.stack.tenant) as channel:
            tenants = tenant_service_pb2_grpc.TenantServiceStub(channel)
            for tenant_id in TENANTS:
                request = tenant_service_pb2.CreateTenantRequest(
                    tenant_id=tenant_id, request_id=tenant_id, name=tenant_id
                )
                response = await tenants.CreateTenant(request)
                self.stack.databases[tenant_id] = response.tenant.database


@asynccontextmanager
async def running_gateway_parts(folder: Path) -> AsyncGenerator[GatewayParts]:
    """Run everything in a folder for the block, and end it."""
    postgres = KillablePostgres(folder)
    s3 = S3Server(folder / "s3", folder / "s3-keys.json", free_port())
    async with contextlib.AsyncExitStack() as ending:
        await postgres.start()
        ending.push_async_callback(postgres.stop)
        await ending.enter_async_context(running(s3, folder / "s3.log"))
        name = f"nagaya_{secrets.token_hex(4)}"
        url = await postgres.server.create_management_database(name)
        stack = GatewayStack(folder, postgres.server, s3, url)
        parts = GatewayParts(stack, postgres, folder)
        ending.push_async_callback(asyncio.to_thread, stack.stop)
        await parts.start()
        yield parts
