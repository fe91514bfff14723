"""New passwords for the services' roles of one database, without a call that fails by it.

PostgreSQL keeps one password per role, and a role's password and the registry cannot change at the
same instant. So the next passwords are committed beside the present ones first; from then on a
service that asks is told both, and uses whichever the server accepts. A service that has asked
before is refused by the server once, asks again, and is told both. Sessions that are open stay.
Afterwards the generation grows, so that services make their connections anew.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, cast

from dataplane import audit
from dataplane.databases import MANAGEMENT
from tenant.app.bootstrap import BOOTSTRAP_LOCK
from tenant.domain.databases import SERVICES
from tenant.domain.operations import RESULT, OperationKind
from tenant.domain.passwords import new_password, scram_verifier
from tenant.domain.tenants import TenantState
from tenant.errors import TenantNotFound, TenantNotReady
from tenant.operations.saga import Saga, Step, operation_lock
from tenant.store import credentials, next_credentials, roles, servers, tenants

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataplane.pools import Connection
    from dataplane.tenants import ManagementPool
    from tenant.domain.databases import Database
    from tenant.domain.encryption import KeyRing
    from tenant.domain.operations import Operation
    from tenant.operations.operations import Operations
    from tenant.store.database_servers import DatabaseServers

_DRAIN_SECONDS = 45.0  # longer than a statement may take
_POLL_SECONDS = 0.25
_SESSIONS = "sessions"


class PasswordRotation:
    """Changes the passwords of a tenant's database, or with an empty id of the management one."""

    def __init__(
        self,
        management: ManagementPool,
        operations: Operations,
        servers: DatabaseServers,
        key_ring: KeyRing,
        drain_seconds: float = _DRAIN_SECONDS,
    ) -> None:
        self._management = management
        self._operations = operations
        self._servers = servers
        self._key_ring = key_ring
        self._drain_seconds = drain_seconds
        self.saga = Saga(
            OperationKind.ROTATE_PASSWORDS,
            (
                Step("passwords", self._make_passwords),
                Step("server", self._change_on_server),
                Step("registry", self._change_in_registry),
                Step("old_sessions", self._await_old_sessions),
            ),
            lock=lambda operation: (
                operation_lock(operation) if operation.tenant_id else BOOTSTRAP_LOCK
            ),
        )

    async def begin(self, tenant_id: str, request_id: str) -> Operation:
        """Begin a rotation. Raises TenantNotFound, TenantNotReady, RequestIdReused."""
        asked = (OperationKind.ROTATE_PASSWORDS, tenant_id, request_id, dict[str, object]())
        async with self._management.transaction() as connection:
            operation = await self._operations.known(connection, *asked)
            if operation is None:
                await self._place(connection, tenant_id)
                operation = await self._operations.begin(connection, *asked)
                details = {"operation_id": operation.operation_id}
                action = "tenant.rotate_passwords"
                await audit.append(connection, action, "tenant", tenant_id, details)
        self._operations.run(operation.operation_id)
        return operation

    async def _place(self, connection: Connection, tenant_id: str) -> tuple[str, Database]:
        """Return the server and the database whose roles get new passwords."""
        if tenant_id == MANAGEMENT:
            return self._servers.main.server_id, self._servers.main.management
        tenant = await tenants.find(connection, tenant_id)
        if tenant is None:
            raise TenantNotFound(tenant_id)
        if tenant.state is not TenantState.ACTIVE:
            raise TenantNotReady(tenant_id, tenant.state)
        return tenant.server_id, tenant.database

    async def _make_passwords(self, connection: Connection, operation: Operation) -> None:
        tenant_id = operation.tenant_id
        server_id, database = await self._place(connection, tenant_id)
        passwords = {service: new_password() for service in SERVICES}
        async with connection.transaction():
            await next_credentials.insert(
                connection,
                self._key_ring,
                tenant_id,
                server_id,
                database.name,
                operation.operation_id,
                passwords,
            )

    async def _change_on_server(
        self, connection: Connection, operation: Operation
    ) -> Mapping[str, object]:
        """Give the roles their next passwords; note which sessions are from before."""
        server_id, database = await self._place(connection, operation.tenant_id)
        passwords = await self._next(connection, operation.tenant_id, server_id, database)
        verifiers = {service: scram_verifier(password) for service, password in passwords.items()}
        server = await self._servers.of(server_id)
        async with server.provisioner(database.manager) as provisioner:
            if verifiers:  # unless the tenant has moved meanwhile, and has new ones by that
                await roles.change_passwords(provisioner, database, verifiers)
            found = await roles.sessions(provisioner, database, SERVICES)
        own = connection.get_server_pid()  # it holds the lock of this operation to its end
        return {_SESSIONS: [pid for pid in found if pid != own]}

    async def _change_in_registry(self, connection: Connection, operation: Operation) -> None:
        """Make the next passwords the present ones; services connect anew."""
        tenant_id = operation.tenant_id
        server_id, database = await self._place(connection, tenant_id)
        async with connection.transaction():
            passwords = await self._next(connection, tenant_id, server_id, database)
            if passwords and tenant_id == MANAGEMENT:
                await credentials.change_for_management(connection, self._key_ring, passwords)
            elif passwords:
                await self._change_tenant(connection, tenant_id, server_id, database, passwords)
            await next_credentials.delete(connection, tenant_id)

    async def _change_tenant(
        self,
        connection: Connection,
        tenant_id: str,
        server_id: str,
        database: Database,
        passwords: Mapping[str, str],
    ) -> None:
        host, port = await servers.host_and_port(connection, server_id)
        own = passwords["tenant"]
        url = credentials.encrypted_url(self._key_ring, tenant_id, host, port, database, own)
        await credentials.change(connection, self._key_ring, tenant_id, passwords)
        if await tenants.place(connection, tenant_id, server_id, database, url) is None:
            raise TenantNotFound(tenant_id)

    async def _await_old_sessions(
        self, connection: Connection, operation: Operation
    ) -> Mapping[str, object]:
        """Wait until the sessions of the old passwords are closed; tell how many are not in time.

        They are not terminated: something may be under way in them.
        """
        server_id, database = await self._place(connection, operation.tenant_id)
        old = set(cast("list[int]", operation.notes[_SESSIONS]))
        server = await self._servers.of(server_id)
        end = time.monotonic() + self._drain_seconds
        while True:
            async with server.provisioner(database.manager) as provisioner:
                left = old.intersection(await roles.sessions(provisioner, database, SERVICES))
            await self._operations.progress(
                operation, len(old) - len(left), len(old), "sessions closed"
            )
            if not left or time.monotonic() > end:
                return {RESULT: {"sessions_left": str(len(left))}}
            await asyncio.sleep(_POLL_SECONDS)

    async def _next(
        self, connection: Connection, tenant_id: str, server_id: str, database: Database
    ) -> dict[str, str]:
        place = (tenant_id, server_id, database.name)
        return await next_credentials.of_place(connection, self._key_ring, *place)
