"""Where a tenant's database is, and where it is moved to."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from dataplane import failures
from tenant.domain.databases import Database
from tenant.domain.tenants import TenantState
from tenant.errors import ServerUnavailable, TenantNotFound, TenantNotReady
from tenant.store import replication, tenants

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from dataplane.pools import Connection
    from tenant.domain.operations import Operation
    from tenant.domain.tenants import Tenant
    from tenant.store.database_servers import DatabaseServers
    from tenant.store.server import ProvisionedServer

_ROLE = "SESSION_USER"  # the provisioner, while it acts as a manager role


@dataclass(frozen=True, slots=True)
class Location:
    """A database on a server."""

    server_id: str
    database: Database

    @property
    def place(self) -> tuple[str, Database]:
        return self.server_id, self.database

    @property
    def notes(self) -> dict[str, str]:
        """What `of_notes` reads."""
        database = self.database
        return {
            "server_id": self.server_id,
            "database": database.name,
            "manager": database.manager,
        }

    @classmethod
    def of_notes(cls, notes: Mapping[str, str]) -> Location:
        return cls(notes["server_id"], Database(notes["database"], notes["manager"]))


@dataclass(frozen=True, slots=True)
class Move:
    """What an operation moves: from where, to where, and how."""

    operation_id: str
    tenant_id: str
    old: Location
    new: Location
    replicated: bool
    """Whether it can be written to while it is copied."""

    @property
    def database_names(self) -> tuple[str, str]:
        """The old database's and the new one's."""
        return self.old.database.name, self.new.database.name

    @classmethod
    def of(cls, operation: Operation) -> Move:
        notes = operation.notes
        old = cast("Mapping[str, str]", notes["old"])
        new = cast("Mapping[str, str]", notes["new"])
        return cls(
            operation.operation_id,
            operation.tenant_id,
            Location.of_notes(old),
            Location.of_notes(new),
            not notes["why_stopped"],
        )

    async def is_done(self, connection: Connection) -> bool:
        """Return whether the new database is the tenant's; by the management database."""
        tenant = await tenants.find(connection, self.tenant_id)
        return tenant is not None and tenant.database == self.new.database


async def movable_tenant(connection: Connection, tenant_id: str) -> Tenant:
    """Return a tenant that can be moved. Raises TenantNotFound, TenantNotReady."""
    tenant = await tenants.find(connection, tenant_id)
    if tenant is None:
        raise TenantNotFound(tenant_id)
    if tenant.state not in (TenantState.ACTIVE, TenantState.SUSPENDED):
        raise TenantNotReady(tenant_id, tenant.state)
    return tenant


@asynccontextmanager
async def owner_session(
    servers: DatabaseServers, location: Location
) -> AsyncGenerator[tuple[ProvisionedServer, Connection]]:
    """Open a session of the provisioner in a database, with the privileges of all its roles.

    It stays a member of these roles until `release`. Raises ServerNotFound, ServerUnavailable.
    """
    server, database = await servers.of(location.server_id), location.database
    async with server.provisioner(database.manager) as manager:
        await replication.grant_tables(manager, database, _ROLE)
    session = await server.provisioner_login(database.name)
    try:
        yield server, session
    except Exception as error:
        if failures.is_unavailable(error, session):
            raise ServerUnavailable(location.server_id) from error
        raise
    finally:
        session.terminate()


async def release(servers: DatabaseServers, location: Location) -> None:
    """Make the provisioner a member of a database's roles no longer."""
    server, database = await servers.of(location.server_id), location.database
    async with server.provisioner(database.manager) as manager:
        await replication.revoke_tables(manager, database, _ROLE)
