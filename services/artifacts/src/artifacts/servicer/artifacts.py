"""The gRPC methods of ArtifactService."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from artifacts import wire
from artifacts.errors import StreamInvalid
from nagaya.artifacts.v1 import artifact_service_pb2 as pb
from nagaya.artifacts.v1 import artifact_service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from artifacts.app.batch_copies import BatchCopies
    from artifacts.app.batches import Batches
    from artifacts.app.copies import Copies
    from artifacts.app.reader import Reader
    from artifacts.app.uploads import Uploads
    from artifacts.domain.keys import BucketLayout
    from interceptor.server import Context


class ArtifactServicer(artifact_service_pb2_grpc.ArtifactServiceServicer):
    """Uploads, downloads, copies, finds, lists and batches of files."""

    def __init__(
        self,
        layout: BucketLayout,
        uploads: Uploads,
        batches: Batches,
        copies: Copies,
        batch_copies: BatchCopies,
        reader: Reader,
    ) -> None:
        self._layout = layout
        self._uploads = uploads
        self._batches = batches
        self._copies = copies
        self._batch_copies = batch_copies
        self._reader = reader

    async def UploadArtifact(
        self, request_iterator: AsyncIterator[pb.UploadArtifactRequest], context: Context
    ) -> pb.UploadArtifactResponse:
        first = await anext(request_iterator)
        if first.WhichOneof("part") != "upload_id":
            raise StreamInvalid("the first message names no upload")
        committed = await self._uploads.receive(
            first.tenant_id, first.upload_id, _bodies(request_iterator)
        )
        return pb.UploadArtifactResponse(artifact=wire.artifact(committed))

    async def DownloadArtifact(
        self, request: pb.DownloadArtifactRequest, context: Context
    ) -> AsyncIterator[Any]:  # messages, those with bytes serialized
        key = self._layout.parse(request.tenant_id, request.path)
        found = await self._reader.find(key, request.digest, request.offset)
        chunks = self._reader.chunks(found, request.offset, request.limit)
        async with aclosing(chunks):
            yield pb.DownloadArtifactResponse(artifact=wire.artifact(found))
            async for chunk in chunks:
                yield wire.downloaded(chunk)

    async def CopyArtifact(
        self, request: pb.CopyArtifactRequest, context: Context
    ) -> pb.CopyArtifactResponse:
        source = wire.pointer(self._layout, request.tenant_id, request.source)
        target = wire.draft(self._layout, request.tenant_id, request.target)
        copy = await self._copies.copy(source, target)
        return pb.CopyArtifactResponse(artifact=wire.artifact(copy))

    async def BatchCopyArtifacts(
        self, request: pb.BatchCopyArtifactsRequest, context: Context
    ) -> pb.BatchCopyArtifactsResponse:
        tenant_id = request.tenant_id
        copies = [wire.file_copy(self._layout, tenant_id, each) for each in request.copies]
        outcomes = await self._batch_copies.copy(tenant_id, copies)
        return pb.BatchCopyArtifactsResponse(results=map(wire.copy_result, outcomes))

    async def GetArtifact(
        self, request: pb.GetArtifactRequest, context: Context
    ) -> pb.GetArtifactResponse:
        found = await self._reader.find(self._layout.parse(request.tenant_id, request.path))
        return pb.GetArtifactResponse(artifact=wire.artifact(found))

    async def ListArtifacts(
        self, request: pb.ListArtifactsRequest, context: Context
    ) -> pb.ListArtifactsResponse:
        folder = self._layout.folder(request.tenant_id, request.run_id, request.step)
        page = await self._reader.page(
            request.tenant_id, folder, request.page_size, request.page_token
        )
        return pb.ListArtifactsResponse(
            artifacts=map(wire.artifact, page.items), next_page_token=page.next_token
        )

    async def BatchPutArtifacts(
        self, request: pb.BatchPutArtifactsRequest, context: Context
    ) -> pb.BatchPutArtifactsResponse:
        items = [wire.item(self._layout, request.tenant_id, item) for item in request.items]
        outcomes = await self._batches.put(request.tenant_id, items)
        return pb.BatchPutArtifactsResponse(results=map(wire.put_result, outcomes))

    async def BatchGetArtifacts(
        self, request: pb.BatchGetArtifactsRequest, context: Context
    ) -> pb.BatchGetArtifactsResponse:
        tenant_id = request.tenant_id
        pointers = [wire.pointer_or_error(self._layout, tenant_id, p) for p in request.pointers]
        outcomes = await self._batches.get(tenant_id, pointers)
        return pb.BatchGetArtifactsResponse(results=map(wire.get_result, outcomes))


async def _bodies(requests: AsyncIterator[pb.UploadArtifactRequest]) -> AsyncIterator[bytes]:
    async for request in requests:
        if request.WhichOneof("part") != "data":
            raise StreamInvalid("a later message carries no bytes")
        yield request.data
