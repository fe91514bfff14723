"""The gRPC methods of ConnectionService: unpack, call, pack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nagaya.tenant.v1 import connection_service_pb2 as pb
from nagaya.tenant.v1 import connection_service_pb2_grpc
from tenant import wire
from tenant.servicer.callers import calling_service

if TYPE_CHECKING:
    from interceptor.server import Context
    from tenant.app.connections import Connections


class ConnectionServicer(connection_service_pb2_grpc.ConnectionServiceServicer):
    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def ResolveConnection(
        self, request: pb.ResolveConnectionRequest, context: Context
    ) -> pb.ResolveConnectionResponse:
        login = await self._connections.resolve(calling_service(), request.tenant_id)
        return pb.ResolveConnectionResponse(connection=wire.connection(login))
