"""WatchTenants: who hears what, and when."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

import asyncpg
import pytest
from tests.integration.tenant.calls import creation, tenants
from tests.support.waiting import wait_until

from interceptor.testing import serve
from nagaya.tenant.v1 import tenant_pb2, tenant_service_pb2, tenant_service_pb2_grpc
from tenant.composition import compose

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from contextlib import AbstractAsyncContextManager

    import grpc

    from interceptor.testing import RunningServer
    from nagaya_local.parts.postgres import PostgresServer
    from servicekit.testing import Keys
    from tenant.composition import Composition
    from tenant.config import Config


class Watch:
    """The events that a watcher has received."""

    def __init__(self, stub: tenant_service_pb2_grpc.TenantServiceStub) -> None:
        self._call = stub.WatchTenants(tenant_service_pb2.WatchTenantsRequest())
        self._events = aiter(self._call)

    async def next(self) -> tuple[str, int] | str:
        async with asyncio.timeout(50):
            event = await anext(self._events)
        if event.WhichOneof("event") == "tenant":
            return event.tenant.tenant_id, event.tenant.state
        return str(event.WhichOneof("event"))

    async def until(self, wanted: tuple[str, int]) -> None:
        while await self.next() != wanted:
            pass

    def close(self) -> None:
        self._call.cancel()


@contextmanager
def watching(channel: grpc.aio.Channel) -> Generator[Watch]:
    watch = Watch(tenant_service_pb2_grpc.TenantServiceStub(channel))
    try:
        yield watch
    finally:
        watch.close()


async def test_watchers_of_every_replica_hear_of_every_change(
    server: RunningServer,
    keys: Keys,
    replica: Callable[[], AbstractAsyncContextManager[Composition]],
) -> None:
    active, suspended = tenant_pb2.TENANT_STATE_ACTIVE, tenant_pb2.TENANT_STATE_SUSPENDED
    await tenants(server).CreateTenant(creation("acme"))

    async with (
        replica() as other,
        serve(keys, *other.bindings) as other_server,
    ):
        here = Watch(tenant_service_pb2_grpc.TenantServiceStub(server.workload_channel("runs")))
        there = Watch(
            tenant_service_pb2_grpc.TenantServiceStub(other_server.workload_channel("artifacts"))
        )
        for watch in (here, there):
            await watch.until(("acme", active))
        await tenants(server).CreateTenant(creation("globex", "r2"))
        await tenants(other_server).SuspendTenant(
            tenant_service_pb2.SuspendTenantRequest(tenant_id="acme")
        )
        for watch in (here, there):
            await watch.until(("globex", active))
            await watch.until(("acme", suspended))
            watch.close()


async def test_a_person_watches_only_the_tenants_of_the_token(server: RunningServer) -> None:
    for n, name in enumerate(("acme", "globex")):
        await tenants(server).CreateTenant(creation(name, f"r{n}"))

    active, received = ("globex", tenant_pb2.TENANT_STATE_ACTIVE), set[object]()
    with watching(server.channel(tenants=["globex"])) as watch:
        while not received >= {active, "synced"}:
            received.add(await watch.next())

    assert not [one for one in received if isinstance(one, tuple) and one[0] != "globex"]


async def test_a_lost_connection_to_the_registry_is_made_again(
    server: RunningServer, postgres: PostgresServer, config: Config
) -> None:
    superuser = await asyncpg.connect(postgres.superuser_url())
    with watching(server.workload_channel("runs")) as watch:
        assert await watch.next() == "synced"
        ended = await superuser.fetchval(
            """
            SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
             WHERE datname = $1 AND application_name = 'tenant watch cache'
            """,
            config.database.database,
        )
        await superuser.close()
        assert ended == 1
        await tenants(server).CreateTenant(creation("acme"))
        await watch.until(("acme", tenant_pb2.TENANT_STATE_ACTIVE))


async def test_a_registry_that_no_statement_could_read_is_followed_again(
    server: RunningServer,
    postgres: PostgresServer,
    config: Config,
    caplog: pytest.LogCaptureFixture,
) -> None:
    registry = await asyncpg.connect(postgres.superuser_url(config.database.database))
    with watching(server.workload_channel("runs")) as watch:
        assert await watch.next() == "synced"
        await registry.execute("ALTER TABLE tenants RENAME TO tenants_elsewhere")
        await registry.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'tenant watch cache'"
        )

        async def logged() -> bool:
            return "the registry could not be followed" in caplog.messages

        await wait_until(logged)
        await registry.execute("ALTER TABLE tenants_elsewhere RENAME TO tenants")
        await tenants(server).CreateTenant(creation("acme"))
        await watch.until(("acme", tenant_pb2.TENANT_STATE_ACTIVE))
    await registry.close()


async def test_a_watch_ends_when_the_server_drains(
    server: RunningServer, service: Composition
) -> None:
    with watching(server.workload_channel("runs")) as watch:
        assert await watch.next() == "synced"
        await service.watch_cache.close()
        with pytest.raises(StopAsyncIteration):
            await watch.next()


async def test_a_process_that_stops_before_it_has_read_the_registry_tells_of_nothing(
    config: Config, keys: Keys
) -> None:
    """With `synced` its watcher would forget the tenants that it knows."""
    async with compose(config) as starting, serve(keys, *starting.bindings) as server:
        with watching(server.workload_channel("runs")) as watch:
            await starting.watch_cache.close()
            with pytest.raises(StopAsyncIteration):
                await watch.next()
