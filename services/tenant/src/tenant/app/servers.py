"""Registration of database servers, until they are drained and unregistered."""

from __future__ import annotations

import logging
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from dataplane import audit
from servicekit.errors import DomainError
from tenant.app import server_inspection
from tenant.config import ProvisionerAddress
from tenant.domain.operations import OperationKind
from tenant.domain.servers import MAIN, ServerState
from tenant.errors import ServerAddressInvalid, ServerNotFound, ServerUnsuitable
from tenant.errors.moves import ServerInUse, ServerLost
from tenant.move.drain import SERVER
from tenant.store import open_operations, operations, servers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from dataplane.pools import Connection
    from dataplane.tenants import ManagementPool
    from tenant.domain.encryption import KeyRing
    from tenant.domain.operations import Operation
    from tenant.domain.servers import Server, ServerFacts, ServerSettings
    from tenant.operations.operations import Operations
    from tenant.rollout.template import TemplateDatabase
    from tenant.store.database_servers import DatabaseServers
    from tenant.store.locks import AdvisoryLocks
    from tenant.store.server import ProvisionedServer

_log = logging.getLogger(__name__)


class Servers:
    """Registers, drains and unregisters database servers, one at a time."""

    def __init__(
        self,
        management: ManagementPool,
        locks: AdvisoryLocks,
        known: DatabaseServers,
        template: TemplateDatabase,
        key_ring: KeyRing,
        begun: Operations,
    ) -> None:
        self._operations = begun
        self._management = management
        self._locks = locks
        self._known = known
        self._template = template
        self._key_ring = key_ring

    async def register(self, server_id: str, url: str, wanted: ServerSettings) -> Server:
        """Register a server, or replace what is registered of it. An empty `url` keeps the address.

        Raises ServerAddressInvalid, ServerUnsuitable and ServerUnavailable.
        """
        async with self._locks.holding(server_inspection.LOCK) as connection:
            known = await servers.find(connection, server_id)
            address = _address(server_id, url, known)
            async with self._server(server_id, address) as server:
                found = await server_inspection.inspect(server)
                await self._check_cluster(connection, server_id, known, found)
                if server_id != MAIN:
                    await self._template.prepare(server)
            registered = await self._save(connection, server_id, address, wanted, found)
        await self._make_template(server_id)
        return registered

    async def drain(self, server_id: str, state: ServerState) -> Server:
        """Let a server get no more tenants, or get them again, or be lost; both end its drain.

        Nobody waits for a server that is lost; it stays lost until it is said to get tenants again.
        Raises ServerNotFound, ServerLost, and ServerInUse for `main`.
        """
        if server_id == MAIN and state is ServerState.LOST:
            raise ServerInUse(server_id, "it has the management database")
        async with self._management.transaction() as connection:
            server = await self._set_state(connection, server_id, state)
            if state is not ServerState.DRAINING:
                drain = await open_operations.drain_of(connection, server_id)
                if drain is not None:
                    await operations.request_cancellation(connection, drain.operation_id)
                    self._operations.run(drain.operation_id)
        return server

    async def move_away(self, server_id: str) -> tuple[Server, Operation]:
        """Let a server get no more tenants, and begin to move away those that it has.

        Of a server there is one such operation at a time; one that has failed goes on. Raises
        ServerNotFound, ServerLost.
        """
        async with self._management.transaction() as connection:
            server = await self._set_state(connection, server_id, ServerState.DRAINING)
            drain = await open_operations.drain_of(connection, server_id)
            if drain is not None:
                drain = await operations.reopen(connection, drain.operation_id)
            if drain is None:
                drain = await self._operations.begin(
                    connection,
                    OperationKind.DRAIN_SERVER,
                    "",
                    f"drain/{uuid.uuid4()}",
                    {SERVER: server_id},
                )
        self._operations.run(drain.operation_id)
        return server, drain

    async def unregister(self, server_id: str) -> None:
        """Know a server no longer, that no tenant and no open operation needs.

        Nothing is changed there, so it need not be reachable. Raises ServerNotFound, ServerInUse.
        """
        if server_id == MAIN:
            raise ServerInUse(server_id, "it has the management database")
        async with (
            self._locks.holding(server_inspection.LOCK) as connection,
            connection.transaction(),
        ):
            await servers.lock_placement(connection)  # nobody places a tenant there meanwhile
            server = await servers.find(connection, server_id)
            if server is None:
                raise ServerNotFound(server_id)
            if server.tenant_count:
                raise ServerInUse(server_id, f"it has {server.tenant_count} tenants")
            if begun := await open_operations.ids_of_server(connection, server_id):
                raise ServerInUse(server_id, f"the operation {begun[0]} is not over")
            await servers.delete(connection, server_id)
            details = {"address": f"{server.host}:{server.port}"}
            await audit.append(connection, "server.unregister", "server", server_id, details)

    async def _set_state(
        self, connection: Connection, server_id: str, state: ServerState
    ) -> Server:
        changed = await servers.set_state(connection, server_id, state)
        server = await servers.find(connection, server_id)
        if server is None:
            raise ServerNotFound(server_id)
        if changed:
            details = {"state": state.value}
            await audit.append(connection, "server.drain", "server", server_id, details)
        elif server.state is not state:
            raise ServerLost(server_id)
        return server

    @asynccontextmanager
    async def _server(
        self, server_id: str, address: ProvisionerAddress | None
    ) -> AsyncGenerator[ProvisionedServer]:
        """Have a server for the block: at a new address, or at the one that is registered."""
        if address is None:
            yield await self._known.of(server_id)
            return
        server = self._known.at(server_id, address)
        try:
            yield server
        finally:
            await server.close()

    async def _check_cluster(
        self, connection: Connection, server_id: str, known: Server | None, found: ServerFacts
    ) -> None:
        same = await servers.same_cluster(connection, server_id, found.system_identifier)
        if same is not None:
            raise ServerUnsuitable(server_id, "cluster", f"it is the same as the server {same}")
        before = await servers.system_identifier(connection, server_id)
        if known is not None and known.tenant_count and before not in ("", found.system_identifier):
            raise ServerUnsuitable(
                server_id,
                "cluster",
                f"it is not the one that has the {known.tenant_count} tenants of {server_id}",
            )

    async def _save(
        self,
        connection: Connection,
        server_id: str,
        address: ProvisionerAddress | None,
        wanted: ServerSettings,
        found: ServerFacts,
    ) -> Server:
        async with connection.transaction():
            if address is not None:
                await servers.set_address(connection, self._key_ring, server_id, address)
            await servers.describe(connection, server_id, wanted, found)
            registered = await servers.find(connection, server_id)
            if registered is None:
                raise ServerNotFound(server_id)
            details = {
                "address": f"{registered.host}:{registered.port}",
                "labels": dict(wanted.labels),
                "max_tenants": wanted.max_tenants,
                "connection_budget": wanted.connection_budget,
                "absent": [check.name for check in found.checks if not check.passed],
            }
            await audit.append(connection, "server.register", "server", server_id, details)
        return registered

    async def _make_template(self, server_id: str) -> None:
        """Make the template that creations on the server copy; they only take longer without."""
        try:
            await self._template.refresh_on(await self._known.of(server_id))
        except DomainError as error:
            _log.warning(
                "a new server has no template database yet",
                extra={
                    "event": "template_database.server_unavailable",
                    "server_id": server_id,
                    "why": error.message,
                },
            )


def _address(server_id: str, url: str, known: Server | None) -> ProvisionerAddress | None:
    """Return the new address; None where it stays. Raises ServerAddressInvalid."""
    if not url:
        if known is None:
            raise ServerAddressInvalid(server_id, "a new server needs an address")
        return None
    if server_id == MAIN:
        raise ServerAddressInvalid(server_id, "the address of main is the setting NAGAYA_PG_URL")
    try:
        address = ProvisionerAddress.parse(url)
    except ValueError as error:
        raise ServerAddressInvalid(server_id, str(error)) from None
    if not address.database or not address.password:
        raise ServerAddressInvalid(server_id, "it names no database, or no password")
    return address
