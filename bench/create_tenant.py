"""CreateTenant beside a raw CREATE DATABASE of the same template, in turn, on a server of its own.

The tenant service runs as a process, with the migrations that the other services really publish.
A tenant is timed from the call to its answer: roles, database, every table, active.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from bench import part
from bench.goals import Goals, ratio, spread
from dataplane.migrations import publish, read_migrations
from nagaya.tenant.v1 import tenant_service_pb2, tenant_service_pb2_grpc
from nagaya_local.machine.ports import free_port
from nagaya_local.machine.running import running
from nagaya_local.parts.postgres import PostgresServer
from servicekit.channel import open_channel
from servicekit.testing import ISSUER, Keys

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

ROUNDS = 15
SERVICES = ("runs", "artifacts", "llm-gateway")
_CLONE = Path(__file__).parents[1]
_TEMPLATE = """
SELECT datname FROM pg_database
 WHERE datistemplate AND datname LIKE '%\\_template\\_%'
 ORDER BY oid DESC
 LIMIT 1
"""


async def main() -> int:
    with tempfile.TemporaryDirectory(prefix="nagaya-bench-") as name:
        folder = Path(name)
        server, keys = PostgresServer(folder / "postgres", free_port()), Keys(folder)
        async with (
            running(server, folder / "postgres.log"),
            tenant_service(folder, keys, server.url) as address,
        ):
            for service in SERVICES:
                async with open_channel(address, keys.signer(service)) as channel:
                    files = read_migrations(_CLONE / "services" / service / "migrations")
                    await publish(channel, service, files)
            async with open_channel(address, None, keys.token()) as channel:
                tenants = tenant_service_pb2_grpc.TenantServiceStub(channel)
                return await _compare(tenants, server.superuser_url())


async def _compare(tenants: tenant_service_pb2_grpc.TenantServiceStub, url: str) -> int:
    connection = await asyncpg.connect(url)
    ours: list[float] = []
    raw: list[float] = []
    for number in range(ROUNDS + 1):
        request = tenant_service_pb2.CreateTenantRequest(
            tenant_id=f"bench-{number}", request_id=f"bench-{number}", name="Benchmark"
        )
        began = time.perf_counter()
        await tenants.CreateTenant(request)
        ours.append(time.perf_counter() - began)
        # The service makes it once all have published, so before the first creation has ended.
        template = await connection.fetchval(_TEMPLATE)
        began = time.perf_counter()
        await connection.execute(f'CREATE DATABASE raw_{number} TEMPLATE "{template}"')
        raw.append(time.perf_counter() - began)
    await connection.close()
    del ours[0], raw[0]  # they warmed up
    own, baseline = (spread([1000 * taken for taken in found], "ms", 0) for found in (ours, raw))
    goals = Goals()
    figure = "CreateTenant beside CREATE DATABASE of its template"
    goals.at_most(figure, ratio(ours, raw), 1.3, own, baseline)
    return goals.exit_code


@asynccontextmanager
async def tenant_service(folder: Path, keys: Keys, pg_url: str) -> AsyncGenerator[str]:
    """Run `python -m tenant` for the block; `publish` waits until it answers."""
    ring = folder / "keyring.json"
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    ring.write_text(json.dumps({"active": "k1", "keys": {"k1": key}}))
    ring.chmod(0o600)
    address = f"127.0.0.1:{free_port()}"
    settings = {
        "NAGAYA_LISTEN": address,
        "NAGAYA_PG_URL": pg_url,
        "NAGAYA_KEYRING_FILE": str(ring),
        "NAGAYA_JWKS_FILE": str(keys.jwks_file),
        "NAGAYA_TOKEN_ISSUER": ISSUER,
        "NAGAYA_WORKLOAD_KEY_FILE": str(keys.key_file("tenant")),
        "NAGAYA_DRAIN_SECONDS": "0",
    }
    with (folder / "tenant.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tenant", env=settings, stderr=log
        )
    try:
        yield address
    finally:
        process.terminate()
        await process.wait()


if __name__ == "__main__":
    part.run(main)
