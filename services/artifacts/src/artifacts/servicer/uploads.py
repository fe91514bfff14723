"""The gRPC methods of UploadService."""

from __future__ import annotations

from typing import TYPE_CHECKING

from artifacts import wire
from nagaya.artifacts.v1 import upload_service_pb2 as pb
from nagaya.artifacts.v1 import upload_service_pb2_grpc

if TYPE_CHECKING:
    from artifacts.app.uploads import Uploads
    from artifacts.domain.keys import BucketLayout
    from interceptor.server import Context


class UploadServicer(upload_service_pb2_grpc.UploadServiceServicer):
    """Announces files."""

    def __init__(self, layout: BucketLayout, uploads: Uploads) -> None:
        self._layout = layout
        self._uploads = uploads

    async def CreateUpload(
        self, request: pb.CreateUploadRequest, context: Context
    ) -> pb.CreateUploadResponse:
        draft = wire.draft(self._layout, request.tenant_id, request.draft)
        outcome = await self._uploads.create(draft, request.digest, request.size_bytes)
        return wire.create_upload_response(outcome)
