"""The gRPC methods of ServerService."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nagaya.tenant.v1 import server_service_pb2 as pb
from nagaya.tenant.v1 import server_service_pb2_grpc
from tenant.domain.servers import ServerSettings
from tenant.errors import ServerNotFound
from tenant.store import servers
from tenant.wire import operations as operation_wire
from tenant.wire import servers as wire

if TYPE_CHECKING:
    from dataplane.tenants import ManagementPool
    from interceptor.server import Context
    from tenant.app.servers import Servers


class ServerServicer(server_service_pb2_grpc.ServerServiceServicer):
    """Registers, finds, lists, drains and unregisters database servers."""

    def __init__(self, app: Servers, management: ManagementPool) -> None:
        self._app = app
        self._management = management

    async def RegisterServer(
        self, request: pb.RegisterServerRequest, context: Context
    ) -> pb.RegisterServerResponse:
        wanted = ServerSettings(
            dict(request.labels), request.max_tenants, request.connection_budget
        )
        server = await self._app.register(request.server_id, request.address, wanted)
        return pb.RegisterServerResponse(server=wire.server(server))

    async def GetServer(
        self, request: pb.GetServerRequest, context: Context
    ) -> pb.GetServerResponse:
        async with self._management.connection() as connection:
            server = await servers.find(connection, request.server_id)
        if server is None:
            raise ServerNotFound(request.server_id)
        return pb.GetServerResponse(server=wire.server(server))

    async def ListServers(
        self, request: pb.ListServersRequest, context: Context
    ) -> pb.ListServersResponse:
        async with self._management.connection() as connection:
            page = await servers.page(connection, request.page_size, request.page_token)
        return pb.ListServersResponse(
            servers=map(wire.server, page.items), next_page_token=page.next_token
        )

    async def DrainServer(
        self, request: pb.DrainServerRequest, context: Context
    ) -> pb.DrainServerResponse:
        if request.move_tenants:
            server, operation = await self._app.move_away(request.server_id)
            return pb.DrainServerResponse(
                server=wire.server(server), operation=operation_wire.operation(operation)
            )
        server = await self._app.drain(request.server_id, wire.state_asked(request))
        return pb.DrainServerResponse(server=wire.server(server))

    async def UnregisterServer(
        self, request: pb.UnregisterServerRequest, context: Context
    ) -> pb.UnregisterServerResponse:
        await self._app.unregister(request.server_id)
        return pb.UnregisterServerResponse()
