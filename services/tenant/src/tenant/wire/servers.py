"""Conversion of database servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nagaya.tenant.v1 import server_pb2
from servicekit.times import timestamp
from tenant.domain.servers import ServerState

if TYPE_CHECKING:
    from nagaya.tenant.v1 import server_service_pb2
    from tenant.domain.servers import Server

_STATES = {
    ServerState.ACTIVE: server_pb2.SERVER_STATE_ACTIVE,
    ServerState.DRAINING: server_pb2.SERVER_STATE_DRAINING,
    ServerState.LOST: server_pb2.SERVER_STATE_LOST,
}


def state_asked(request: server_service_pb2.DrainServerRequest) -> ServerState:
    """Return the state that a server is to have."""
    if request.lost:
        return ServerState.LOST
    return ServerState.ACTIVE if request.undo else ServerState.DRAINING


def server(server: Server) -> server_pb2.Server:
    return server_pb2.Server(
        server_id=server.server_id,
        host=server.host,
        port=server.port,
        state=_STATES[server.state],
        labels=dict(server.labels),
        max_tenants=server.max_tenants,
        tenant_count=server.tenant_count,
        connection_budget=server.connection_budget,
        version=server.version,
        checks=[
            server_pb2.ServerCheck(
                name=check.name,
                passed=check.passed,
                consequence=check.consequence,
                remedy=check.remedy,
            )
            for check in server.checks
        ],
        create_time=timestamp(server.create_time),
        update_time=timestamp(server.update_time),
    )
