"""The gRPC methods of OperationService."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nagaya.tenant.v1 import operation_service_pb2 as pb
from nagaya.tenant.v1 import operation_service_pb2_grpc
from servicekit.call import current_principal
from tenant.errors import OperationNotFound
from tenant.servicer.callers import covered_tenants
from tenant.store import operations
from tenant.wire import operations as wire

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from dataplane.tenants import ManagementPool
    from interceptor.server import Context
    from tenant.app.operations import OperationControl
    from tenant.domain.operations import Operation


class OperationServicer(operation_service_pb2_grpc.OperationServiceServicer):
    """Shows operations, and lets them go on or stop."""

    def __init__(self, control: OperationControl, management: ManagementPool) -> None:
        self._control = control
        self._management = management

    async def GetOperation(
        self, request: pb.GetOperationRequest, context: Context
    ) -> pb.GetOperationResponse:
        found = await self._visible(request.operation_id)
        return pb.GetOperationResponse(operation=wire.operation(found))

    async def ListOperations(
        self, request: pb.ListOperationsRequest, context: Context
    ) -> pb.ListOperationsResponse:
        covered, state = covered_tenants(current_principal()), wire.state(request.state)
        async with self._management.connection() as connection:
            page = await operations.page(
                connection, covered, request.tenant_id, state, request.page_size, request.page_token
            )
        return pb.ListOperationsResponse(
            operations=map(wire.operation, page.items), next_page_token=page.next_token
        )

    async def WatchOperation(
        self, request: pb.WatchOperationRequest, context: Context
    ) -> AsyncGenerator[pb.WatchOperationResponse]:
        await self._visible(request.operation_id)
        async for found in self._control.watch(request.operation_id):
            yield pb.WatchOperationResponse(operation=wire.operation(found))

    async def ResumeOperation(
        self, request: pb.ResumeOperationRequest, context: Context
    ) -> pb.ResumeOperationResponse:
        resumed = await self._control.resume(request.operation_id)
        return pb.ResumeOperationResponse(operation=wire.operation(resumed))

    async def CancelOperation(
        self, request: pb.CancelOperationRequest, context: Context
    ) -> pb.CancelOperationResponse:
        cancelled = await self._control.cancel(request.operation_id)
        return pb.CancelOperationResponse(operation=wire.operation(cancelled))

    async def _visible(self, operation_id: str) -> Operation:
        """Return an operation whose tenant the caller covers. Raises OperationNotFound."""
        async with self._management.connection() as connection:
            found = await operations.find(connection, operation_id)
        if found is None or not current_principal().covers(found.tenant_id):
            raise OperationNotFound(operation_id)
        return found
