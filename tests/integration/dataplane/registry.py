"""A registry of tenants on a real cluster, as the tenant service would serve it."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

import asyncpg
import grpc
from tests.support.waiting import wait_until

from interceptor.server import Binding, bind
from nagaya.tenant.v1 import (
    connection_pb2,
    connection_service_pb2,
    connection_service_pb2_grpc,
    tenant_pb2,
    tenant_service_pb2,
)
from servicekit.errors import Conflict, NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from dataplane.tenants import DataPlane
    from interceptor.server import Context
    from nagaya_local.parts.postgres import PostgresServer

TENANT_SERVICE = "nagaya.tenant.v1.TenantService"
CONNECTION_SERVICE = "nagaya.tenant.v1.ConnectionService"


class TenantNotFound(NotFound):
    reason = "ERROR_REASON_TENANT_NOT_FOUND"


class TenantNotReady(Conflict):
    reason = "ERROR_REASON_TENANT_NOT_READY"


class Registry:
    """Tenants and their databases; `resolved` counts how often each was asked for."""

    def __init__(self, postgres: PostgresServer) -> None:
        self._postgres = postgres
        self._prefix = f"kit_{secrets.token_hex(4)}"
        self._connections: dict[str, connection_pb2.Connection] = {}
        self._watchers: list[asyncio.Queue[tenant_service_pb2.WatchTenantsResponse | None]] = []
        self.tenants: dict[str, tenant_pb2.Tenant] = {}
        self.resolved: dict[str, int] = {}
        self.answering = asyncio.Event()
        """Answers are sent while it is set; what they say is decided before."""
        self.answering.set()

    async def create(
        self, tenant_id: str, *, says: str | None = None, limit: int = 4, announced: bool = True
    ) -> None:
        """Make a tenant's database and its role; `says` is whose the database thinks it is.

        Who watches is told only of an `announced` one.
        """
        name = f"{self._prefix}_{tenant_id}"
        password = secrets.token_hex(8)
        await self._as_superuser(
            "postgres",
            f"CREATE ROLE {name} LOGIN PASSWORD '{password}'",
            f"CREATE DATABASE {name} OWNER {name}",
        )
        await self._as_superuser(
            name,
            "CREATE TABLE tenant_identity (tenant_id text)",
            f"INSERT INTO tenant_identity VALUES ('{says or tenant_id}')",
            "CREATE TABLE notes (id int PRIMARY KEY)",
            f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}",
        )
        self._connections[tenant_id] = connection_pb2.Connection(
            host="127.0.0.1",
            port=self._postgres.port,
            database=name,
            user=name,
            password=password,
            generation=1,
            connection_limit=limit,
            server_id="one",
        )
        if tenant_id and announced:
            self.tell(tenant_id, tenant_pb2.TENANT_STATE_ACTIVE, generation=1)

    async def rotate(self, tenant_id: str) -> None:
        """Give the tenant's role a new password."""
        connection = self._connections[tenant_id]
        connection.password = secrets.token_hex(8)
        connection.generation += 1
        await self._as_superuser(
            "postgres", f"ALTER ROLE {connection.user} PASSWORD '{connection.password}'"
        )

    async def close_database(self, tenant_id: str) -> None:
        """Let nobody into the database, and end who is in."""
        name = self._connections[tenant_id].database
        await self._as_superuser(
            "postgres",
            f"ALTER DATABASE {name} ALLOW_CONNECTIONS false",
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
        )

    async def open_database(self, tenant_id: str) -> None:
        """Let everybody into the database again."""
        name = self._connections[tenant_id].database
        await self._as_superuser("postgres", f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")

    async def close_sessions(self, tenant_id: str) -> None:
        """End all sessions in a tenant's database."""
        name = self._connections[tenant_id].database
        await self._as_superuser(
            "postgres",
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
        )

    async def execute(self, tenant_id: str, statement: str) -> None:
        """Do something in a tenant's database as its superuser."""
        await self._as_superuser(self._connections[tenant_id].database, statement)

    def move(self, tenant_id: str, port: int) -> None:
        """Say that the database is elsewhere."""
        self._connections[tenant_id].port = port

    def forget_silently(self, tenant_id: str) -> None:
        """Lose a tenant without telling those who watch."""
        del self.tenants[tenant_id], self._connections[tenant_id]

    async def limit_sessions(self, tenant_id: str, most: int) -> None:
        """Let the tenant's role hold so many sessions and no more."""
        user = self._connections[tenant_id].user
        await self._as_superuser("postgres", f"ALTER ROLE {user} CONNECTION LIMIT {most}")

    def share_server(self, tenant_id: str, connections: int) -> None:
        """Say how many connections a process may open to the tenant's server."""
        self._connections[tenant_id].server_connection_limit = connections
        self._connections[tenant_id].generation += 1

    async def sessions(self, *tenant_ids: str) -> int:
        """Count the sessions in tenants' databases, at one moment."""
        names = [self._connections[tenant_id].database for tenant_id in tenant_ids]
        connection = await asyncpg.connect(self._postgres.superuser_url())
        sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = ANY($1)"
        found: int = await connection.fetchval(sql, names)
        await connection.close()
        return found

    def tell(
        self, tenant_id: str, state: tenant_pb2.TenantState.ValueType, generation: int
    ) -> None:
        """Change what the registry says of a tenant, and tell all who watch."""
        tenant = tenant_pb2.Tenant(tenant_id=tenant_id, state=state, generation=generation)
        self.tenants[tenant_id] = tenant
        for watcher in self._watchers:
            watcher.put_nowait(tenant_service_pb2.WatchTenantsResponse(tenant=tenant))

    def end_watches(self) -> None:
        """End all watch streams, as a restart would."""
        for watcher in self._watchers:
            watcher.put_nowait(None)

    def connection(self, tenant_id: str) -> connection_pb2.Connection:
        """Return how to log in. Raises TenantNotFound, TenantNotReady."""
        self.resolved[tenant_id] = self.resolved.get(tenant_id, 0) + 1
        if tenant_id not in self._connections:
            raise TenantNotFound(f"there is no tenant {tenant_id}")
        tenant = self.tenants.get(tenant_id)
        if tenant is not None and tenant.state != tenant_pb2.TENANT_STATE_ACTIVE:
            raise TenantNotReady("the tenant is suspended", state="suspended")
        return self._connections[tenant_id]

    async def watch(self) -> AsyncIterator[tenant_service_pb2.WatchTenantsResponse]:
        events: asyncio.Queue[tenant_service_pb2.WatchTenantsResponse | None] = asyncio.Queue()
        self._watchers.append(events)
        try:
            for tenant in list(self.tenants.values()):
                yield tenant_service_pb2.WatchTenantsResponse(tenant=tenant)
            yield tenant_service_pb2.WatchTenantsResponse(synced=True)
            while (event := await events.get()) is not None:
                yield event
        finally:
            self._watchers.remove(events)

    def bindings(self) -> tuple[Binding, Binding]:
        return (
            _watching(_TenantServicer(self)),
            bind(
                connection_service_pb2_grpc.add_ConnectionServiceServicer_to_server,
                _ConnectionServicer(self),
                CONNECTION_SERVICE,
            ),
        )

    async def _as_superuser(self, database: str, *statements: str) -> None:
        connection = await asyncpg.connect(self._postgres.superuser_url(database))
        for statement in statements:
            await connection.execute(statement)
        await connection.close()


class _TenantServicer:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def WatchTenants(
        self, request: tenant_service_pb2.WatchTenantsRequest, context: Context
    ) -> AsyncIterator[tenant_service_pb2.WatchTenantsResponse]:
        async for event in self._registry.watch():
            yield event


class _ConnectionServicer(connection_service_pb2_grpc.ConnectionServiceServicer):
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def ResolveConnection(
        self, request: connection_service_pb2.ResolveConnectionRequest, context: Context
    ) -> connection_service_pb2.ResolveConnectionResponse:
        try:
            connection = self._registry.connection(request.tenant_id)
        finally:
            await self._registry.answering.wait()
        return connection_service_pb2.ResolveConnectionResponse(connection=connection)


def _watching(servicer: _TenantServicer) -> Binding:
    """Bind the one method of the service that these tests need."""
    handler = grpc.unary_stream_rpc_method_handler(
        servicer.WatchTenants,
        request_deserializer=tenant_service_pb2.WatchTenantsRequest.FromString,
        response_serializer=tenant_service_pb2.WatchTenantsResponse.SerializeToString,
    )
    return Binding(TENANT_SERVICE, {"WatchTenants": handler}, 1 << 20)


async def until(read: Callable[[], Awaitable[object]], wanted: object) -> None:
    """Return when a value is as wanted: a database server tells nobody."""

    async def as_wanted() -> bool:
        return await read() == wanted

    await wait_until(as_wanted)


async def until_known(data: DataPlane, tenant_id: str, generation: int) -> None:
    """Wait until the directory knows a generation of a tenant."""
    known = asyncio.Event()
    data.directory.on_change(lambda changed: known.set() if changed == tenant_id else None)
    entry = data.directory.find(tenant_id)
    if entry is None or entry.generation < generation:
        async with asyncio.timeout(60):
            await known.wait()
