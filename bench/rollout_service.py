"""The tenant service as a process that may be killed, with tenants, and migrations of runs."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import signal
import sys
import time
from typing import TYPE_CHECKING

import asyncpg
import grpc

from nagaya.tenant.v1 import (
    rollout_pb2,
    schema_pb2,
    schema_service_pb2,
    schema_service_pb2_grpc,
    tenant_service_pb2,
    tenant_service_pb2_grpc,
)
from nagaya_local.errors import NotReady
from nagaya_local.machine.ports import free_port
from nagaya_local.parts.health import probe_grpc_health
from servicekit.channel import open_channel
from servicekit.errors import DomainError
from servicekit.testing import ISSUER
from tls.address import ServerAddress

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path
    from typing import TypeVar

    from nagaya_local.parts.postgres import PostgresServer
    from servicekit.identity import WorkloadSigner
    from servicekit.testing import Keys

    ResultT = TypeVar("ResultT")

_START_SECONDS = 60.0
_CREATIONS = 2


class RolloutService:
    """A process of the service that brings nothing to tenants unless it is asked to."""

    def __init__(self, folder: Path, keys: Keys, server: PostgresServer) -> None:
        ring = folder / "keyring.json"
        key = base64.b64encode(secrets.token_bytes(32)).decode()
        ring.write_text(json.dumps({"active": "k1", "keys": {"k1": key}}))
        ring.chmod(0o600)
        self._server, self._keys = server, keys
        self._log = folder / "tenant.log"
        self._address = f"127.0.0.1:{free_port()}"
        self._settings = {
            "NAGAYA_LISTEN": self._address,
            "NAGAYA_PG_URL": server.url,
            "NAGAYA_KEYRING_FILE": str(ring),
            "NAGAYA_JWKS_FILE": str(keys.jwks_file),
            "NAGAYA_TOKEN_ISSUER": ISSUER,
            "NAGAYA_WORKLOAD_KEY_FILE": str(keys.key_file("tenant")),
            "NAGAYA_REQUIRED_SERVICES": "runs",
            "NAGAYA_ROLLOUT_ON_PUBLISH": "none",
            "NAGAYA_DRAIN_SECONDS": "0",
        }
        self._databases: dict[str, str] = {}

    async def start(self) -> None:
        """Start a process, and return when it serves."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tenant", env=self._settings, stderr=log
            )
        until = time.monotonic() + _START_SECONDS
        while True:
            try:
                return await probe_grpc_health(ServerAddress.parse(self._address), "tenant")
            except NotReady:
                if time.monotonic() > until or self._process.returncode is not None:
                    raise
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        """Kill the process as `kill -9` does."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
            await self._process.wait()

    async def publish(self, files: Sequence[str]) -> None:
        """Publish these files of runs, numbered from 1."""
        request = schema_service_pb2.PublishMigrationsRequest(
            migrations=[
                schema_pb2.Migration(
                    number=number,
                    name=f"file_{number}",
                    target=schema_pb2.MIGRATION_TARGET_TENANT,
                    sql=sql,
                )
                for number, sql in enumerate(files, 1)
            ]
        )
        await self._call(lambda stub: stub.PublishMigrations(request), self._keys.signer("runs"))

    async def create_tenants(self, names: Sequence[str]) -> None:
        waiting = iter(names)

        async def create_each(stub: tenant_service_pb2_grpc.TenantServiceStub) -> None:
            for name in waiting:
                request = tenant_service_pb2.CreateTenantRequest(
                    tenant_id=name, request_id=name, name=name
                )
                made = (await stub.CreateTenant(request)).tenant
                self._databases[name] = made.database

        async with open_channel(self._address, None, self._keys.token()) as channel:
            stub = tenant_service_pb2_grpc.TenantServiceStub(channel)
            await asyncio.gather(*(create_each(stub) for _ in range(_CREATIONS)))

    async def begin(self, request_id: str, canary: Sequence[str] = (), concurrency: int = 0) -> str:
        """Create a rollout and return its id."""
        request = schema_service_pb2.CreateRolloutRequest(
            request_id=request_id, canary_tenant_ids=canary, concurrency=concurrency
        )
        return (await self._call(lambda stub: stub.CreateRollout(request))).rollout.rollout_id

    async def resume(self, rollout_id: str) -> None:
        request = schema_service_pb2.ResumeRolloutRequest(rollout_id=rollout_id)
        await self._call(lambda stub: stub.ResumeRollout(request))

    async def ended(self, rollout_id: str) -> rollout_pb2.Rollout:
        """Return a rollout once it runs no longer, whatever happens to the process meanwhile."""
        request = schema_service_pb2.GetRolloutRequest(rollout_id=rollout_id)
        while True:
            found = (await self._call(lambda stub: stub.GetRollout(request))).rollout
            if found.state != rollout_pb2.ROLLOUT_STATE_RUNNING:
                return found
            await asyncio.sleep(0.05)

    async def execute(self, tenant_id: str, sql: str) -> object:
        """Run a statement in a tenant's database as superuser; return its first value."""
        connection = await asyncpg.connect(self._server.superuser_url(self._databases[tenant_id]))
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    async def run(self, tenant_id: str, script: str) -> None:
        """Run statements in a tenant's database as superuser, on a connection of their own."""
        connection = await asyncpg.connect(self._server.superuser_url(self._databases[tenant_id]))
        try:
            await connection.execute(script)
        finally:
            await connection.close()

    async def _call(
        self,
        call: Callable[[schema_service_pb2_grpc.SchemaServiceStub], Awaitable[ResultT]],
        signer: WorkloadSigner | None = None,
    ) -> ResultT:
        """Call until the service answers: every call here may be sent again."""
        token = None if signer is not None else self._keys.token()
        until = time.monotonic() + _START_SECONDS
        while True:
            try:
                async with open_channel(self._address, signer, token) as channel:
                    return await call(schema_service_pb2_grpc.SchemaServiceStub(channel))
            except (DomainError, grpc.RpcError):
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(0.05)
