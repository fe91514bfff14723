"""The databases of the tenants, and the management database, as one service reaches them."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataplane.databases import MANAGEMENT, Databases
from dataplane.directory import TenantDirectory
from dataplane.lease import Lease
from dataplane.pools import Target
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

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    import grpc

    from nagaya.tenant.v1 import connection_pb2

DEFAULT_BUDGET = 20
_RESOLVE_SECONDS = 10.0
_FIRST_DELAY = 0.1
_LAST_DELAY = 5.0
_log = logging.getLogger(__name__)


class TenantPools:
    """Connections to the tenants' databases, as the service's own role.

    Entering a block raises TenantNotActive, DatabaseUnavailable, TooManyCalls, PeerUnavailable;
    where there is no such tenant PermissionDenied, or TenantNotFound if the caller may act for all
    tenants. A connection that breaks inside a block raises DatabaseUnavailable, a statement of more
    than 30 s DeadlineExceeded.
    """

    def __init__(self, databases: Databases) -> None:
        self._databases = databases

    async def check(self, tenant_id: str) -> None:
        """Raise what entering a block would raise, unless there is such a tenant, and it is active.

        Where the tenant's database is in use already this costs nothing.
        """
        await self._databases.find(_named(tenant_id))

    def connection(self, tenant_id: str) -> Lease:
        """Lend a connection for the block; each statement is a transaction of its own."""
        return Lease(self._databases, _named(tenant_id), transactional=False)

    def transaction(self, tenant_id: str) -> Lease:
        """Lend a connection for the block, which is one transaction, committed if it ends well."""
        return Lease(self._databases, _named(tenant_id), transactional=True)


class ManagementPool:
    """Connections to the management database, as the service's own role."""

    def __init__(self, databases: Databases) -> None:
        self._databases = databases

    def connection(self) -> Lease:
        """Lend a connection for the block; each statement is a transaction of its own."""
        return Lease(self._databases, MANAGEMENT, transactional=False)

    def transaction(self) -> Lease:
        """Lend a connection for the block, which is one transaction, committed if it ends well."""
        return Lease(self._databases, MANAGEMENT, transactional=True)


@dataclass(frozen=True, slots=True)
class DataPlane:
    """What a service needs to reach its tables."""

    tenants: TenantPools
    management: ManagementPool
    directory: TenantDirectory

    async def ready(self) -> None:
        """Wait until the tenants are known and the management database answers."""
        await self.directory.ready()
        delay = _FIRST_DELAY
        while True:
            try:
                async with self.management.connection() as connection:
                    await connection.execute("SELECT 1")
            except DomainError as error:
                _log.warning("the management database is away", extra={"why": error.message})
                await asyncio.sleep(delay)
                delay = min(2 * delay, _LAST_DELAY)
            else:
                return


@asynccontextmanager
async def connect_data_plane(
    tenant_channel: grpc.aio.Channel, service_name: str, budget: int = DEFAULT_BUDGET
) -> AsyncGenerator[DataPlane]:
    """Follow the tenants, and reach the databases through the tenant service.

    `budget` is how many connections this process may hold open to one database server.
    """
    directory = TenantDirectory(tenant_channel)
    databases = Databases(_resolver(tenant_channel), service_name, budget, directory)
    directory.start()
    try:
        yield DataPlane(TenantPools(databases), ManagementPool(databases), directory)
    finally:
        await directory.close()
        databases.close()
        await databases.settled()


def _named(tenant_id: str) -> str:
    """Return a tenant's id; the empty one would name the management database."""
    if tenant_id == MANAGEMENT:
        raise PermissionDenied
    return tenant_id


def _resolver(tenant_channel: grpc.aio.Channel) -> Callable[[str], Awaitable[Target]]:
    stub = connection_service_pb2_grpc.ConnectionServiceStub(tenant_channel)

    async def resolve(tenant_id: str) -> Target:
        request = connection_service_pb2.ResolveConnectionRequest(tenant_id=tenant_id)
        try:
            response = await stub.ResolveConnection(request, timeout=_RESOLVE_SECONDS)
        except NotFound:
            raise TenantNotFound("there is no such tenant") from None
        except Conflict as error:
            if error.reason != "ERROR_REASON_TENANT_NOT_READY":
                raise DatabaseUnavailable(error.message) from error
            state = error.metadata.get("state", "not ready")
            raise TenantNotActive(f"the tenant is {state}", state=state) from None
        return _target(response.connection)

    return resolve


def _target(connection: connection_pb2.Connection) -> Target:
    return Target(
        host=connection.host,
        port=connection.port,
        database=connection.database,
        user=connection.user,
        password=connection.password,
        generation=connection.generation,
        connection_limit=connection.connection_limit,
        server_id=connection.server_id,
    )
