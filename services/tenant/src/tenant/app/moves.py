"""Beginning moves of tenants to other servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenant.app import target_servers
from tenant.domain.operations import OperationKind
from tenant.domain.tenants import TenantState
from tenant.errors import ServerUnsuitable, TenantNotFound, TenantNotReady
from tenant.move.saga import TARGET
from tenant.store import operations as operation_rows
from tenant.store import tenants

if TYPE_CHECKING:
    from dataplane.pools import Connection
    from dataplane.tenants import ManagementPool
    from tenant.domain.operations import Operation
    from tenant.operations.operations import Operations


class Moves:
    """Begins moves, after a look at the tenant and the server."""

    def __init__(self, management: ManagementPool, begun: Operations) -> None:
        self._management = management
        self._begun = begun

    async def begin(self, tenant_id: str, server_id: str, request_id: str) -> Operation:
        """Begin a move, or return the one that the same request began.

        Raises TenantNotFound, TenantNotReady, ServerNotFound, ServerUnsuitable, RequestIdReused.
        """
        async with self._management.transaction() as connection:
            if await operation_rows.find_by_request_id(connection, request_id) is None:
                await self._check(connection, tenant_id, server_id)
            operation = await self._begun.begin(
                connection,
                OperationKind.MOVE_TENANT,
                tenant_id,
                request_id,
                {TARGET: server_id},
            )
        self._begun.run(operation.operation_id)
        return operation

    async def _check(self, connection: Connection, tenant_id: str, server_id: str) -> None:
        tenant = await tenants.find(connection, tenant_id)
        if tenant is None:
            raise TenantNotFound(tenant_id)
        if tenant.state not in (TenantState.ACTIVE, TenantState.SUSPENDED):
            raise TenantNotReady(tenant_id, tenant.state)
        if tenant.server_id == server_id:
            raise ServerUnsuitable(server_id, "tenant", f"{tenant_id} is there already")
        await target_servers.check(connection, tenant, server_id)
