"""What is broken, for how long, and which alerts are about it."""

from __future__ import annotations

import asyncio
import http.client
import os
import signal
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg

from bench.incidents.traffic import WORD, reads
from nagaya.tenant.v1 import tenant_service_pb2
from nagaya_local.machine.ports import PortBook
from nagaya_local.parts.postgres import PostgresServer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from contextlib import AbstractAsyncContextManager

    from tests.support.stack import LocalStack

    from nagaya_client.client import Client

    Breakage = Callable[["Target"], AbstractAsyncContextManager[None]]

_READERS = 60
_NOBODYS = "t_01nobody"


@dataclass(frozen=True, slots=True)
class Target:
    """A stack with a tenant that works."""

    stack: LocalStack
    client: Client
    tenant_id: str


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that is broken, and the alerts that are to fire and to clear."""

    name: str
    broken: Breakage
    alerts: frozenset[str]


@asynccontextmanager
async def provider_down(target: Target) -> AsyncGenerator[None]:
    """The provider refuses every call with 503."""
    rule = target.stack.stub.script(WORD, {"kind": "status", "status": 503})
    try:
        yield
    finally:
        connection = http.client.HTTPConnection(
            target.stack.endpoints.llmstub_url.removeprefix("http://"), timeout=10
        )
        connection.request("DELETE", f"/stub/script?name={rule}")
        connection.getresponse().read()
        connection.close()


@asynccontextmanager
async def worker_away(target: Target) -> AsyncGenerator[None]:
    """The only worker is killed, and nobody starts it again."""
    async with _without_supervisor(target) as pids:
        os.kill(pids["runs-worker"], signal.SIGKILL)
        yield


@asynccontextmanager
async def temporal_away(target: Target) -> AsyncGenerator[None]:
    """Temporal is killed: what is accepted waits in the outbox."""
    async with _without_supervisor(target) as pids:
        os.kill(pids["temporal"], signal.SIGKILL)
        yield


@asynccontextmanager
async def database_away(target: Target) -> AsyncGenerator[None]:
    """The tenant's database takes no connections."""
    connection, database = await _superuser(target)
    await connection.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS false')
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", database
    )
    try:
        yield
    finally:
        await connection.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS true')
        await connection.close()


@asynccontextmanager
async def connections_used_up(target: Target) -> AsyncGenerator[None]:
    """A session holds a lock on a table, and every call waits for it with a connection."""
    superuser, database = await _superuser(target)
    await superuser.close()
    holder = await asyncpg.connect(_server(target).superuser_url(database))
    async with reads(target.client, target.tenant_id, _READERS):
        await holder.execute("BEGIN; LOCK TABLE runs IN ACCESS EXCLUSIVE MODE")
        try:
            yield
        finally:
            await holder.close()


@asynccontextmanager
async def database_of_nobody(target: Target) -> AsyncGenerator[None]:
    """There is a database of the installation that no tenant has."""
    connection, database = await _superuser(target)
    said = await connection.fetchval(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = $1", database
    )
    await connection.execute(f'CREATE DATABASE "{_NOBODYS}"')
    try:
        await connection.execute(f"COMMENT ON DATABASE \"{_NOBODYS}\" IS '{said}'")
        yield
    finally:
        await connection.execute(f'DROP DATABASE "{_NOBODYS}" WITH (FORCE)')
        await connection.close()


INCIDENTS = (
    Incident("provider down", provider_down, frozenset({"NagayaProviderDown"})),
    Incident("worker away", worker_away, frozenset({"NagayaTargetDown", "NagayaTaskQueueBacklog"})),
    Incident("tenant's database away", database_away, frozenset({"NagayaTenantDatabaseAway"})),
    Incident(
        "outbox stuck",
        temporal_away,
        frozenset({"NagayaOutboxStuck", "NagayaTemporalUnreachable"}),
    ),
    Incident(
        "budget of connections used up",
        connections_used_up,
        frozenset({"NagayaConnectionBudgetUsedUp", "NagayaConnectionRefusals"}),
    ),
    Incident("database of nobody", database_of_nobody, frozenset({"NagayaTenantFindings"})),
)


@asynccontextmanager
async def _without_supervisor(target: Target) -> AsyncGenerator[dict[str, int]]:
    """Stop the supervisor for the block: it would start again what is killed."""
    pids = target.stack.pids
    os.kill(pids["supervisor"], signal.SIGSTOP)
    try:
        yield pids
    finally:
        os.kill(pids["supervisor"], signal.SIGCONT)


def _server(target: Target) -> PostgresServer:
    layout = target.stack.layout
    return PostgresServer(layout.postgres, PortBook(layout.ports).known["postgres"])


async def _superuser(target: Target) -> tuple[asyncpg.Connection[asyncpg.Record], str]:
    """Return a superuser's connection to the server, and the name of the tenant's database."""
    request = tenant_service_pb2.GetTenantRequest(tenant_id=target.tenant_id)
    database = (await target.client.tenants.GetTenant(request)).tenant.database
    connection = await asyncio.wait_for(asyncpg.connect(_server(target).superuser_url()), 30)
    return connection, database
