"""Ten moves of a tenant between two servers, while a service writes to it 200 times a second.

The writes begin at their times whether or not others have ended. Each is an entry of the tenant's
audit log with a number of its own. One that fails is not repeated, so each number may be there once
at most, and must be there if its write was acknowledged. A move's stop is the longest time in which
no write was acknowledged, from its beginning until two seconds after its end.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from bench import part
from bench.create_tenant import SERVICES, tenant_service
from bench.goals import Goals, spread
from dataplane import audit
from dataplane.migrations import publish, read_migrations
from dataplane.tenants import connect_data_plane
from nagaya.tenant.v1 import (
    audit_service_pb2,
    audit_service_pb2_grpc,
    operation_pb2,
    operation_service_pb2,
    operation_service_pb2_grpc,
    server_service_pb2,
    server_service_pb2_grpc,
    tenant_service_pb2,
    tenant_service_pb2_grpc,
)
from nagaya_local.machine.ports import free_port
from nagaya_local.machine.running import running
from nagaya_local.parts.postgres import PostgresServer
from servicekit.call import acting_as
from servicekit.channel import open_channel
from servicekit.errors import DomainError
from servicekit.identity import workload_principal
from servicekit.testing import Keys

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import grpc

    from dataplane.tenants import TenantPools

MOVES = 10
RATE = 200
GOAL_SECONDS = 1.5
_AFTER_SECONDS = 2.0
_TENANT = "bench"
_CLONE = Path(__file__).parents[1]


@dataclass
class Writers:
    """Writes at a rate, and notes when each write was acknowledged."""

    pools: TenantPools
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    begun: int = 0
    failed: int = 0
    acknowledged: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])

    async def run(self) -> None:
        """Write until `stopped` is set, then wait for what has begun.

        Raises the error of a write that is no refusal.
        """
        start = time.monotonic()
        async with asyncio.TaskGroup() as group:
            while not self.stopped.is_set():
                await asyncio.sleep(start + self.begun / RATE - time.monotonic())
                group.create_task(self._write(str(self.begun)))
                self.begun += 1

    async def _write(self, number: str) -> None:
        try:
            with acting_as(workload_principal("runs")):
                async with self.pools.transaction(_TENANT) as connection:
                    await audit.append(connection, "note", "run", number)
        except DomainError:
            self.failed += 1
        else:
            self.acknowledged.append((time.monotonic(), number))

    def longest_stop(self, began: float, end: float) -> float:
        """Return the longest time without an acknowledged write."""
        times = [began, *sorted(at for at, _ in self.acknowledged if began < at < end), end]
        return max(after - before for before, after in itertools.pairwise(times))


async def main() -> int:
    with tempfile.TemporaryDirectory(prefix="nagaya-bench-") as name:
        folder = Path(name)
        keys = Keys(folder)
        first, second = (PostgresServer(folder / one, free_port()) for one in ("first", "second"))
        async with (
            running(first, folder / "first.log"),
            running(second, folder / "second.log"),
            tenant_service(folder, keys, first.url) as address,
            open_channel(address, None, keys.token()) as channel,
        ):
            await _prepare(keys, address, channel, second.url)
            async with _writing(keys, address) as writers:
                stops = [await _moved(writers, channel, number) for number in range(MOVES)]
            database = await _database(channel)
            written = await _written(first, database)
            return await _judged(writers, stops, written, channel)


async def _prepare(keys: Keys, address: str, channel: grpc.aio.Channel, second: str) -> None:
    for service in SERVICES:
        async with open_channel(address, keys.signer(service)) as own:
            files = read_migrations(_CLONE / "services" / service / "migrations")
            await publish(own, service, files)
    await server_service_pb2_grpc.ServerServiceStub(channel).RegisterServer(
        server_service_pb2.RegisterServerRequest(server_id="second", address=second)
    )
    await tenant_service_pb2_grpc.TenantServiceStub(channel).CreateTenant(
        tenant_service_pb2.CreateTenantRequest(
            tenant_id=_TENANT, request_id=_TENANT, name=_TENANT, server_labels={"server": "main"}
        )
    )


@asynccontextmanager
async def _writing(keys: Keys, address: str) -> AsyncGenerator[Writers]:
    """Write for the block, as the runs service does."""
    async with (
        open_channel(address, keys.signer("runs")) as own,
        connect_data_plane(own, "runs") as data,
    ):
        await data.ready()
        writers = Writers(data.tenants)
        async with asyncio.TaskGroup() as group:
            group.create_task(writers.run())
            yield writers
            writers.stopped.set()


async def _moved(writers: Writers, channel: grpc.aio.Channel, number: int) -> float:
    """Move the tenant to the other server; return how long nobody could write, in seconds."""
    began = time.monotonic()
    begun = await tenant_service_pb2_grpc.TenantServiceStub(channel).MoveTenant(
        tenant_service_pb2.MoveTenantRequest(
            tenant_id=_TENANT, server_id=("second", "main")[number % 2], request_id=f"m{number}"
        )
    )
    last = begun.operation
    watched = operation_service_pb2.WatchOperationRequest(operation_id=last.operation_id)
    stub = operation_service_pb2_grpc.OperationServiceStub(channel)
    async for response in stub.WatchOperation(watched):
        last = response.operation
    if last.state != operation_pb2.OPERATION_STATE_DONE:
        raise RuntimeError(f"the move has failed: {last.error.message}")
    await asyncio.sleep(_AFTER_SECONDS)
    stop = writers.longest_stop(began, time.monotonic())
    took = time.monotonic() - began - _AFTER_SECONDS
    print(
        f"  {took:.1f} s by {last.result['way']}, {last.result['stopped_ms']} ms closed, "
        f"no write acknowledged for {stop * 1000:.0f} ms",
        flush=True,
    )
    return stop


async def _database(channel: grpc.aio.Channel) -> str:
    request = tenant_service_pb2.GetTenantRequest(tenant_id=_TENANT)
    stub = tenant_service_pb2_grpc.TenantServiceStub(channel)
    return (await stub.GetTenant(request)).tenant.database


async def _written(server: PostgresServer, database: str) -> list[str]:
    """Return the numbers that the tenant's log has, chained or not."""
    connection = await asyncpg.connect(server.superuser_url(database))
    rows = await connection.fetch(
        """
        SELECT resource_id FROM audit_logs WHERE action = 'note'
        UNION ALL SELECT resource_id FROM audit_unchained WHERE action = 'note'
        """
    )
    await connection.close()
    return [row["resource_id"] for row in rows]


async def _judged(
    writers: Writers, stops: list[float], written: list[str], channel: grpc.aio.Channel
) -> int:
    goals, acknowledged = Goals(), {number for _, number in writers.acknowledged}
    p95 = statistics.quantiles(stops, n=20, method="inclusive")[-1]
    figure = spread([1000 * stop for stop in stops], "ms", 0)
    name = f"longest stop of a move under {RATE} writes/s, p95 of {MOVES}, of 1.5 s"
    goals.at_most(name, p95 / GOAL_SECONDS, 1.0, figure)
    lost, doubled = len(acknowledged - set(written)), len(written) - len(set(written))
    counted = f"of {len(acknowledged):,}; {writers.failed:,} refused"
    goals.at_most("acknowledged writes that were lost", lost, 0, str(lost), counted)
    goals.at_most("writes that were doubled", doubled, 0, str(doubled), counted)
    verified = await audit_service_pb2_grpc.AuditServiceStub(channel).VerifyAuditLog(
        audit_service_pb2.VerifyAuditLogRequest(tenant_id=_TENANT)
    )
    faults = int(verified.HasField("first_fault"))
    goals.at_most("faults of the moved audit log", faults, 0, str(faults))
    return goals.exit_code


if __name__ == "__main__":
    part.run(main)
