"""Latency of one tenant while another has 400 calls in flight, beside its own at rest.

GetRun of the calm tenant is timed in turn with nothing else to serve, and while 400 clients of the
busy one create runs, as fast as they are answered, from a process of their own. The runs are held,
so that what is measured is the service and no workflow. PostgreSQL, tenant and runs are this
program's own: its tenants are gone with them.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
import uuid
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench import part
from bench.create_tenant import tenant_service
from bench.goals import Goals
from dataplane.migrations import publish, read_migrations
from nagaya.runs.v1 import (
    pipeline_pb2,
    pipeline_service_pb2,
    pipeline_service_pb2_grpc,
    run_service_pb2,
    run_service_pb2_grpc,
)
from nagaya.tenant.v1 import tenant_service_pb2, tenant_service_pb2_grpc
from nagaya_local.machine.ports import free_port
from nagaya_local.machine.running import running
from nagaya_local.parts.postgres import PostgresServer
from servicekit.channel import open_channel
from servicekit.errors import DomainError
from servicekit.testing import ISSUER, Keys

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

GOAL = 3.0
CLIENTS = 400
ROUNDS = 5
CALLS = 300
BUSY, CALM = "bench-busy", "bench-calm"
PIPELINE = "nothing"
_CLONE = Path(__file__).parents[1]
_READY_SECONDS = 60.0


async def main() -> int:
    with tempfile.TemporaryDirectory(prefix="nagaya-bench-") as name:
        folder = Path(name)
        server, keys = PostgresServer(folder / "postgres", free_port()), Keys(folder)
        async with (
            running(server, folder / "postgres.log"),
            tenant_service(folder, keys, server.url) as tenants,
        ):
            for service in ("artifacts", "llm-gateway"):
                async with open_channel(tenants, keys.signer(service)) as channel:
                    files = read_migrations(_CLONE / "services" / service / "migrations")
                    await publish(channel, service, files)
            async with runs_service(folder, keys, tenants) as (runs, _):
                return await _compare(keys, tenants, runs)


async def _compare(keys: Keys, tenants: str, runs: str) -> int:
    tokens = {tenant: keys.token(tenants=[tenant]) for tenant in (BUSY, CALM)}
    for tenant, token in tokens.items():
        await _prepare(tenants, runs, tenant, token)
    rest: list[float] = []
    beside: list[float] = []
    async with open_channel(runs, None, tokens[CALM]) as channel:
        stub = run_service_pb2_grpc.RunServiceStub(channel)
        run_id = await _create(stub, CALM)
        await _time(stub, run_id)  # warms up
        for _ in range(ROUNDS):
            rest += await _time(stub, run_id)
            async with _load(runs, tokens[BUSY]) as load:
                beside += await _time(stub, run_id)
            print(f"  {await load:,.0f} runs/s created beside")
    goals = Goals()
    for percentile, goal in ((50, None), (99, GOAL)):
        own, quiet = _ms(beside, percentile), _ms(rest, percentile)
        figure = f"GetRun beside {CLIENTS} clients of another tenant, p{percentile}"
        cells = (f"{own:.1f} ms", f"at rest {quiet:.1f} ms")
        if goal is None:
            goals.shown(figure, *cells, own / quiet)
        else:
            goals.at_most(figure, own / quiet, goal, *cells)
    return goals.exit_code


async def _time(stub: run_service_pb2_grpc.RunServiceStub, run_id: str) -> list[float]:
    request = run_service_pb2.GetRunRequest(tenant_id=CALM, run_id=run_id)
    found: list[float] = []
    for _ in range(CALLS):
        began = time.perf_counter()
        await stub.GetRun(request)
        found.append(time.perf_counter() - began)
        await asyncio.sleep(0.005)
    return found


def _ms(seconds: list[float], percentile: int) -> float:
    return statistics.quantiles(seconds, n=100)[percentile - 1] * 1000


async def _prepare(tenants: str, runs: str, tenant: str, token: str) -> None:
    async with open_channel(tenants, None, token) as channel:
        await tenant_service_pb2_grpc.TenantServiceStub(channel).CreateTenant(
            tenant_service_pb2.CreateTenantRequest(tenant_id=tenant, request_id=tenant, name=tenant)
        )
    step = pipeline_pb2.StepSpec(
        step="first", function=pipeline_pb2.FunctionStep(function="constant", short=True)
    )
    async with open_channel(runs, None, token) as channel:
        await pipeline_service_pb2_grpc.PipelineServiceStub(channel).CreatePipelineVersion(
            pipeline_service_pb2.CreatePipelineVersionRequest(
                tenant_id=tenant,
                request_id="bench",
                pipeline=PIPELINE,
                spec=pipeline_pb2.PipelineSpec(steps=[step]),
            )
        )


async def _create(stub: run_service_pb2_grpc.RunServiceStub, tenant: str) -> str:
    request = run_service_pb2.CreateRunRequest(
        tenant_id=tenant, request_id=uuid.uuid4().hex, pipeline=PIPELINE, hold=True
    )
    return (await stub.CreateRun(request)).run.run_id


async def load(runs: str, token: str) -> None:
    """Create runs from CLIENTS clients until a line comes in; then print how many a second."""
    created = 0

    async def client(stub: run_service_pb2_grpc.RunServiceStub) -> None:
        nonlocal created
        while True:
            try:
                await _create(stub, BUSY)
                created += 1
            except DomainError:  # more at once than a tenant may have
                await asyncio.sleep(0.2)

    async with open_channel(runs, None, token) as first, open_channel(runs, None, token) as second:
        stubs = [run_service_pb2_grpc.RunServiceStub(channel) for channel in (first, second)]
        clients = [asyncio.create_task(client(stubs[n % 2])) for n in range(CLIENTS)]
        await asyncio.sleep(1)
        print("busy", flush=True)
        began, before = time.monotonic(), created
        await asyncio.to_thread(sys.stdin.readline)
        print((created - before) / (time.monotonic() - began), flush=True)
        for each in clients:
            each.cancel()
        await asyncio.gather(*clients, return_exceptions=True)


@asynccontextmanager
async def _load(runs: str, token: str) -> AsyncGenerator[asyncio.Future[float]]:
    """Keep the busy tenant busy for the block; the future tells what it got done."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.two_tenants", runs, token), stdin=pipe, stdout=pipe
    )
    assert process.stdin is not None  # noqa: S101 - both are pipes
    assert process.stdout is not None  # noqa: S101
    done: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    try:
        await process.stdout.readline()
        yield done
        process.stdin.write(b"\n")
        done.set_result(float(await process.stdout.readline()))
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def runs_service(folder: Path, keys: Keys, tenants: str) -> AsyncGenerator[tuple[str, int]]:
    """Run `python -m runs` for the block, once it is ready; yield its address and process id.

    Nothing else that it asks is there.
    """
    address, nowhere = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    settings = {
        "NAGAYA_LISTEN": address,
        "TEMPORAL_ADDRESS": nowhere,
        "NAGAYA_TENANT_ADDRESS": tenants,
        "NAGAYA_ARTIFACTS_ADDRESS": nowhere,
        "NAGAYA_LLM_GATEWAY_ADDRESS": nowhere,
        "NAGAYA_JWKS_FILE": str(keys.jwks_file),
        "NAGAYA_TOKEN_ISSUER": ISSUER,
        "NAGAYA_WORKLOAD_KEY_FILE": str(keys.key_file("runs")),
        "NAGAYA_DRAIN_SECONDS": "0",
    }
    with (folder / "runs.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "runs", env=settings, stderr=log
        )
    try:
        async with asyncio.timeout(_READY_SECONDS):
            await _until_published(tenants, keys)
        yield address, process.pid
    finally:
        process.terminate()
        await process.wait()


async def _until_published(tenants: str, keys: Keys) -> None:
    """Wait until the runs service has made its tables known: before that no tenant is made."""
    request = tenant_service_pb2.CreateTenantRequest(
        tenant_id="bench-first", request_id="bench-first", name="First"
    )
    async with open_channel(tenants, None, keys.token()) as channel:
        stub = tenant_service_pb2_grpc.TenantServiceStub(channel)
        while True:
            try:
                await stub.CreateTenant(request)
            except DomainError:
                await asyncio.sleep(0.1)
            else:
                return


if __name__ == "__main__":
    if sys.argv[1:]:
        asyncio.run(load(*sys.argv[1:]))
    else:
        part.run(main)
