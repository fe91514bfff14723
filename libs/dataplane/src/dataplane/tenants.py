"""Connections to the databases of the tenants and to the management database."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataplane.audit_chainer import AuditChainer
from dataplane.connection_lease import ConnectionLease
from dataplane.connection_parameters import ConnectionParameters
from dataplane.databases import MANAGEMENT, Databases
from dataplane.directory import TenantDirectory
from nagaya.tenant.v1 import connection_service_pb2, connection_service_pb2_grpc
from servicekit.errors import (
    Conflict,
    DatabaseUnavailable,
    DomainError,
    NotFound,
    PermissionDenied,
    TenantNotActive,
    TenantNotFound,
)
from servicekit.retries import Backoff, RetryLog, retry

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    import grpc

    from nagaya.tenant.v1 import connection_pb2

DEFAULT_BUDGET = 20
_RESOLVE_SECONDS = 10.0
_BEHIND = "behind"
_BEHIND_SECONDS = 2.0
"""How long a call waits for a migration: it may be under way, if the process has just started."""
_BEHIND_AT_START_SECONDS = 30.0
"""For how long calls wait so, since a tenant was first behind: one that is so later stays so."""
_BEHIND_PAUSES = Backoff()
_log = logging.getLogger(__name__)


class TenantPools:
    """Connections to the tenants' databases, in the service's own role.

    Entering a block raises TenantNotActive, DatabaseUnavailable, TooManyCalls, PeerUnavailable;
    where there is no such tenant PermissionDenied, or TenantNotFound if the caller may act for all
    tenants. A connection that breaks inside a block raises DatabaseUnavailable, a statement of more
    than 30 s DeadlineExceeded.
    """

    def __init__(self, databases: Databases) -> None:
        self._databases = databases

    async def check(self, tenant_id: str) -> None:
        """Check that the tenant exists and is active; raise what entering a block would raise.

        It costs nothing for a tenant whose database is in use already.
        """
        await self._databases.find(_named(tenant_id))

    def connection(self, tenant_id: str) -> ConnectionLease:
        """Acquire a connection for the block; each statement is a transaction of its own."""
        return ConnectionLease(self._databases, _named(tenant_id), transactional=False)

    def transaction(self, tenant_id: str) -> ConnectionLease:
        """Acquire a connection for the block, which is one transaction."""
        return ConnectionLease(self._databases, _named(tenant_id), transactional=True)


class ManagementPool:
    """Connections to the management database, in the service's own role."""

    def __init__(self, databases: Databases) -> None:
        self._databases = databases

    def connection(self) -> ConnectionLease:
        """Acquire a connection for the block; each statement is a transaction of its own."""
        return ConnectionLease(self._databases, MANAGEMENT, transactional=False)

    def transaction(self) -> ConnectionLease:
        """Acquire a connection for the block, which is one transaction."""
        return ConnectionLease(self._databases, MANAGEMENT, transactional=True)


@dataclass(frozen=True, slots=True)
class DataPlane:
    """All that a service needs to reach its tables."""

    tenants: TenantPools
    management: ManagementPool
    directory: TenantDirectory

    async def ready(self) -> None:
        """Wait until the directory has been read and the management database answers."""
        await self.directory.ready()
        log = RetryLog(_log, "management_database.unavailable", "the management database is away")
        await retry(self._ping, DomainError, log)

    async def _ping(self) -> None:
        async with self.management.connection() as connection:
            await connection.execute("SELECT 1")


@asynccontextmanager
async def connect_data_plane(
    tenant_channel: grpc.aio.Channel,
    service_name: str,
    budget: int = DEFAULT_BUDGET,
    least_migration: int = 0,
) -> AsyncGenerator[DataPlane]:
    """Follow the registry of tenants, and open pools for the databases that it names.

    Their audit entries are chained in the background, a last time when the block ends.
    `budget` is how many connections this process may hold open to one database server. A tenant
    whose database lacks the service's migration `least_migration` is refused as not active: in the
    30 s after the first one if it still does after 2 s, then at once.
    """
    directory = TenantDirectory(tenant_channel)
    resolve = _resolver(tenant_channel, least_migration)
    databases = Databases(resolve, service_name, budget, directory)
    chainer = AuditChainer(databases)
    directory.start()
    try:
        yield DataPlane(TenantPools(databases), ManagementPool(databases), directory)
    finally:
        await chainer.stop()
        await directory.close()
        databases.close()
        await databases.settled()


def _named(tenant_id: str) -> str:
    """Return a tenant's id. Raises PermissionDenied for the empty one: the management database."""
    if tenant_id == MANAGEMENT:
        raise PermissionDenied
    return tenant_id


def _resolver(
    tenant_channel: grpc.aio.Channel, least_migration: int
) -> Callable[[str], Awaitable[ConnectionParameters]]:
    stub = connection_service_pb2_grpc.ConnectionServiceStub(tenant_channel)
    waits_until: float | None = None

    async def resolve(tenant_id: str) -> ConnectionParameters:
        nonlocal waits_until
        until, pauses = time.monotonic() + _BEHIND_SECONDS, _BEHIND_PAUSES.delays()
        while True:
            try:
                return await ask(tenant_id)
            except TenantNotActive as refused:
                if refused.metadata["state"] != _BEHIND:
                    raise
                now = time.monotonic()
                if waits_until is None:
                    waits_until = now + _BEHIND_AT_START_SECONDS
                if now > min(until, waits_until):
                    raise
            await asyncio.sleep(next(pauses))

    async def ask(tenant_id: str) -> ConnectionParameters:
        request = connection_service_pb2.ResolveConnectionRequest(
            tenant_id=tenant_id, least_migration=least_migration
        )
        try:
            response = await stub.ResolveConnection(request, timeout=_RESOLVE_SECONDS)
        except NotFound:
            raise TenantNotFound("there is no such tenant") from None
        except Conflict as error:
            if error.reason == "ERROR_REASON_TENANT_BEHIND":
                raise TenantNotActive(error.message, state=_BEHIND) from None
            if error.reason != "ERROR_REASON_TENANT_NOT_READY":
                raise DatabaseUnavailable(error.message) from error
            state = error.metadata.get("state", "not ready")
            raise TenantNotActive(f"the tenant is {state}", state=state) from None
        return _parameters(response.connection)

    return resolve


def _parameters(connection: connection_pb2.Connection) -> ConnectionParameters:
    return ConnectionParameters(
        host=connection.host,
        port=connection.port,
        database=connection.database,
        user=connection.user,
        password=connection.password,
        generation=connection.generation,
        connection_limit=connection.connection_limit,
        server_id=connection.server_id,
        server_limit=connection.server_connection_limit,
        next_password=connection.next_password,
    )
