"""Whether a tenant can be written to while it is copied."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenant.domain.tenants import TenantState
from tenant.store import server_facts

if TYPE_CHECKING:
    from tenant.domain.tenants import Tenant
    from tenant.move.locations import Location
    from tenant.store.database_servers import DatabaseServers


async def why_stopped(servers: DatabaseServers, tenant: Tenant, new: Location) -> str:
    """Return why a tenant cannot be written to while it is copied; empty if it can.

    Raises ServerNotFound, ServerUnavailable.
    """
    if tenant.state is not TenantState.ACTIVE:
        return f"the tenant is {tenant.state}"
    for server_id, columns in (
        (tenant.server_id, ("rolreplication", "logical_wal")),
        (new.server_id, ("may_subscribe",)),
    ):
        server = await servers.of(server_id)
        async with server.provisioner() as provisioner:
            found = await server_facts.read(provisioner)
        absent = [server_facts.NAMES[column] for column in columns if not found[column]]
        if absent:
            return f"the server {server_id} lacks {' and '.join(absent)}"
    return ""
