"""Whether a tenant may be brought to a database server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenant.domain.servers import SERVER_LABEL, ServerState
from tenant.errors import ServerNotFound, ServerUnsuitable
from tenant.store import servers

if TYPE_CHECKING:
    from dataplane.pools import Connection
    from tenant.domain.tenants import Tenant


async def check(connection: Connection, tenant: Tenant, server_id: str) -> None:
    """Raise ServerNotFound, or ServerUnsuitable where a server is not to get this tenant.

    Until the caller's transaction ends nobody else takes the place that it has.
    """
    await servers.lock_placement(connection)
    server = await servers.find(connection, server_id)
    if server is None:
        raise ServerNotFound(server_id)
    if server.state is not ServerState.ACTIVE:
        raise ServerUnsuitable(server_id, "state", f"it is {server.state}")
    if server.is_full:
        raise ServerUnsuitable(server_id, "max_tenants", "it is full")
    for name, value in tenant.server_labels.items():
        if name != SERVER_LABEL and server.labels.get(name) != value:
            raise ServerUnsuitable(server_id, "labels", f"it has no label {name}={value}")
