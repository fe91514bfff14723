"""2,000 tenants on one server, asked in an open loop: 150 requests a second, Zipf(1).

`ListRuns` of the runs service is asked, which is one statement in the tenant's database. A
request begins at its time whether or not others have ended. Cold is the first one of a tenant, for
which the service resolves the tenant and connects; warm is one of a tenant that was asked within
the last two seconds. Connecting is timed beside it, as the same kind of role. The server's sessions
are counted ten times a second.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from bench import part
from bench.cpu import cpu_seconds, resident_bytes
from bench.create_tenant import tenant_service
from bench.goals import Goals
from bench.two_tenants import runs_service
from dataplane.migrations import publish, read_migrations
from nagaya.runs.v1 import run_service_pb2, run_service_pb2_grpc
from nagaya.tenant.v1 import (
    server_service_pb2,
    server_service_pb2_grpc,
    tenant_service_pb2,
    tenant_service_pb2_grpc,
)
from nagaya_local.machine.ports import free_port
from nagaya_local.machine.running import running
from nagaya_local.parts.postgres import PostgresServer
from servicekit.channel import open_channel
from servicekit.errors import DomainError
from servicekit.testing import Keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    import grpc

TENANTS = int(sys.argv[1]) if sys.argv[1:] else 2_000
RATE = 150
SECONDS = 120.0
BUDGET = 120
MEMORY_MIB = 250
_WARM_SECONDS = 2.0
_CREATORS = 3
_CONNECTS = 100
_CLONE = Path(__file__).parents[1]


class Load:
    """Asks in an open loop, and sorts how long the answers took."""

    def __init__(self, stub: run_service_pb2_grpc.RunServiceStub) -> None:
        self._stub = stub
        self._asked: dict[str, float] = defaultdict(lambda: -1.0)
        self.took: dict[str, list[float]] = {"cold": [], "warm": [], "between": []}
        self.refused: Counter[str] = Counter()

    async def run(self, names: Sequence[str], seconds: float) -> None:
        """Ask for so many seconds; return when all have been answered."""
        chance = random.Random()  # noqa: S311 - a sample of tenants
        weights = [*itertools.accumulate(1 / rank for rank in range(1, len(names) + 1))]
        asked = chance.choices(names, cum_weights=weights, k=round(RATE * seconds))
        start, tasks = time.monotonic(), set[asyncio.Task[None]]()
        for number, tenant_id in enumerate(asked):
            await asyncio.sleep(start + number / RATE - time.monotonic())
            tasks.add(asyncio.create_task(self._ask(tenant_id)))
        await asyncio.gather(*tasks)

    async def _ask(self, tenant_id: str) -> None:
        began, before = time.monotonic(), self._asked[tenant_id]
        self._asked[tenant_id] = began
        kind = "warm" if began - before <= _WARM_SECONDS else "between"
        if before < 0:
            kind = "cold"
        request = run_service_pb2.ListRunsRequest(tenant_id=tenant_id)
        try:
            await self._stub.ListRuns(request)
        except DomainError as error:
            self.refused[error.reason] += 1
        else:
            self.took[kind].append(time.monotonic() - began)


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
            async with (
                runs_service(folder, keys, tenants) as (runs, pid),
                open_channel(tenants, None, keys.token()) as to_tenants,
                open_channel(runs, None, keys.token()) as to_runs,
            ):
                names = await _created(to_tenants)
                return await _measured(server, to_runs, names, pid)


async def _created(channel: grpc.aio.Channel) -> list[str]:
    """Limit the server's connections, and create the tenants."""
    names = [f"bench-{number:04}" for number in range(TENANTS)]
    stub, waiting = tenant_service_pb2_grpc.TenantServiceStub(channel), iter(names)

    async def create_each() -> None:
        for name in waiting:
            await stub.CreateTenant(
                tenant_service_pb2.CreateTenantRequest(tenant_id=name, request_id=name, name=name)
            )

    await server_service_pb2_grpc.ServerServiceStub(channel).RegisterServer(
        server_service_pb2.RegisterServerRequest(server_id="main", connection_budget=BUDGET)
    )
    began = time.monotonic()
    await asyncio.gather(*(create_each() for _ in range(_CREATORS)))
    print(f"  {TENANTS / (time.monotonic() - began):.1f} tenants/s created", flush=True)
    return names


async def _measured(
    server: PostgresServer, channel: grpc.aio.Channel, names: Sequence[str], pid: int
) -> int:
    load = Load(run_service_pb2_grpc.RunServiceStub(channel))
    sessions: list[int] = []
    counting = asyncio.create_task(_count(server, sessions))
    connecting = asyncio.create_task(_connects(server))
    pids = {"runs": pid, "the load": os.getpid()}
    began, before = time.monotonic(), cpu_seconds(pids)
    await load.run(names, SECONDS)
    took, after = time.monotonic() - began, cpu_seconds(pids)
    connects = await connecting
    counting.cancel()
    cold, warm, connect = (_p99(one) for one in (load.took["cold"], load.took["warm"], connects))
    goals, most, refused = Goals(), max(sessions), load.refused.total()
    memory = resident_bytes(pid) / (1 << 20)
    print(
        f"  {len(names):,} tenants, {RATE}/s for {SECONDS:.0f} s; "
        f"cold {len(load.took['cold']):,}, warm {len(load.took['warm']):,}; "
        f"refused {dict(load.refused) or 'none'}",
        flush=True,
    )
    # Of a core each: near 1 the rate is more than this machine can do.
    shares = [f"{name} {(after[name] - before[name]) / took:.2f}" for name in pids]
    print(f"  of a core: {', '.join(shares)}", flush=True)
    goals.at_most("sessions of services, of the budget", most / BUDGET, 1, str(most), str(BUDGET))
    figure = f"RSS of runs after {len(names):,} tenants"
    goals.at_most(figure, memory / MEMORY_MIB, 1, f"{memory:.0f} MiB", f"{MEMORY_MIB} MiB")
    allowed = 3 * warm + connect
    goals.at_most(
        "p99 of a cold tenant, of 3 times warm + connect",
        cold / allowed,
        1,
        f"{1000 * cold:.1f} ms",
        f"warm {1000 * warm:.1f} ms, connect {1000 * connect:.1f} ms",
    )
    goals.at_most("requests that were refused", refused, 0, str(refused))
    return goals.exit_code


async def _count(server: PostgresServer, sessions: list[int]) -> None:
    """Count the sessions of services' roles, ten times a second."""
    connection = await asyncpg.connect(server.superuser_url())
    try:
        while True:
            found = await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE usename ~ '_(runs|tenant)$'"
            )
            sessions.append(found)
            await asyncio.sleep(0.1)
    finally:
        await connection.close()


async def _connects(server: PostgresServer) -> list[float]:
    """Return how long it takes to connect with a password, tried beside the load."""
    found: list[float] = []
    for _ in range(_CONNECTS):
        began = time.monotonic()
        connection = await asyncpg.connect(server.url)
        found.append(time.monotonic() - began)
        await connection.close()
        await asyncio.sleep(SECONDS / _CONNECTS / 2)
    return found


def _p99(seconds: Sequence[float]) -> float:
    return statistics.quantiles(seconds, n=100)[-1]


if __name__ == "__main__":
    part.run(main)
