"""The gRPC methods of ConnectionService."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nagaya.tenant.v1 import connection_service_pb2 as pb
from nagaya.tenant.v1 import connection_service_pb2_grpc
from tenant import wire
from tenant.servicer.callers import calling_service

if TYPE_CHECKING:
    from interceptor.server import Context
    from tenant.app.connection_resolver import ConnectionResolver


class ConnectionServicer(connection_service_pb2_grpc.ConnectionServiceServicer):
    """Tells a service how to connect to a database."""

    def __init__(self, resolver: ConnectionResolver) -> None:
        self._resolver = resolver

    async def ResolveConnection(
        self, request: pb.ResolveConnectionRequest, context: Context
    ) -> pb.ResolveConnectionResponse:
        parameters = await self._resolver.resolve(
            calling_service(), request.tenant_id, request.least_migration
        )
        return pb.ResolveConnectionResponse(connection=wire.connection(parameters))
