"""The gRPC methods of TenantExportService."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from artifacts import wire
from nagaya.tenant_data.v1 import tenant_export_service_pb2 as pb
from nagaya.tenant_data.v1 import tenant_export_service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from artifacts.app.tenant_export import Part, TenantExport
    from interceptor.server import Context


class TenantExportServicer(tenant_export_service_pb2_grpc.TenantExportServiceServicer):
    """Sends and stores the objects of a tenant."""

    def __init__(self, data: TenantExport) -> None:
        self._data = data

    async def ExportTenantData(
        self, request: pb.ExportTenantDataRequest, context: Context
    ) -> AsyncIterator[pb.ExportTenantDataResponse]:
        yield pb.ExportTenantDataResponse(path_prefix=self._data.path_prefix(request.tenant_id))
        async with aclosing(self._parts(request)) as parts:
            async for part in parts:
                yield wire.exported(part)

    async def ImportTenantData(
        self, request_iterator: AsyncIterator[pb.ImportTenantDataRequest], context: Context
    ) -> pb.ImportTenantDataResponse:
        first = await anext(request_iterator)
        count = await self._data.receive(first.tenant_id, _parts(first, request_iterator))
        return pb.ImportTenantDataResponse(object_count=count)

    def _parts(self, request: pb.ExportTenantDataRequest) -> AsyncGenerator[Part, None]:
        if request.keys:
            return self._data.bodies(request.tenant_id, request.keys)
        return self._data.manifest(request.tenant_id, request.snapshot_id)


async def _parts(
    first: pb.ImportTenantDataRequest, requests: AsyncIterator[pb.ImportTenantDataRequest]
) -> AsyncIterator[Part]:
    if first.WhichOneof("part") is not None:
        yield wire.imported(first)
    async for request in requests:
        if request.WhichOneof("part") is not None:
            yield wire.imported(request)
