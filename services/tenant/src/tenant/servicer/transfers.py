"""The gRPC methods of TransferService."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from nagaya.tenant.v1 import transfer_service_pb2 as pb
from nagaya.tenant.v1 import transfer_service_pb2_grpc
from tenant.errors.transfers import UploadInvalid
from tenant.wire import operations as wire

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from interceptor.server import Context
    from tenant.app.transfers import Transfers


class TransferServicer(transfer_service_pb2_grpc.TransferServiceServicer):
    """Begins exports and imports; sends and receives bundles."""

    def __init__(self, transfers: Transfers) -> None:
        self._transfers = transfers

    async def CreateExport(
        self, request: pb.CreateExportRequest, context: Context
    ) -> pb.CreateExportResponse:
        begun = await self._transfers.export(
            request.tenant_id,
            request.request_id,
            drain=request.drain,
            drain_seconds=request.drain_seconds,
        )
        return pb.CreateExportResponse(operation=wire.operation(begun))

    async def CreateImport(
        self, request: pb.CreateImportRequest, context: Context
    ) -> pb.CreateImportResponse:
        begun = await self._transfers.import_(
            request.tenant_id, request.request_id, request.bundle_id, **_options(request)
        )
        return pb.CreateImportResponse(operation=wire.operation(begun))

    async def DownloadBundle(
        self, request: pb.DownloadBundleRequest, context: Context
    ) -> AsyncGenerator[pb.DownloadBundleResponse]:
        sent = self._transfers.download(request.tenant_id, request.bundle_id, request.offset)
        async with aclosing(sent) as parts:
            async for part in parts:
                yield _part(part)

    async def UploadBundle(
        self, request_iterator: AsyncIterator[pb.UploadBundleRequest], context: Context
    ) -> pb.UploadBundleResponse:
        first = await anext(request_iterator)
        if first.WhichOneof("part") != "upload":
            raise UploadInvalid("the first message says nothing of the bundle")
        upload = first.upload
        received, complete = await self._transfers.upload(
            upload.bundle_id, upload.size_bytes, upload.offset, _pieces(request_iterator)
        )
        return pb.UploadBundleResponse(received_bytes=received, complete=complete)

    async def GetBundleUpload(
        self, request: pb.GetBundleUploadRequest, context: Context
    ) -> pb.GetBundleUploadResponse:
        received, complete = await self._transfers.received(request.bundle_id)
        return pb.GetBundleUploadResponse(received_bytes=received, complete=complete)


def _options(request: pb.CreateImportRequest) -> dict[str, str]:
    return {"name": request.name, "jwks": request.jwks, "server_id": request.server_id}


def _part(part: int | bytes) -> pb.DownloadBundleResponse:
    if isinstance(part, bytes):
        return pb.DownloadBundleResponse(data=part)
    return pb.DownloadBundleResponse(size_bytes=part)


async def _pieces(requests: AsyncIterator[pb.UploadBundleRequest]) -> AsyncGenerator[bytes]:
    async for request in requests:
        if request.WhichOneof("part") != "data":
            raise UploadInvalid("a message carries no bytes")
        yield request.data
