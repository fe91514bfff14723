"""The client of the artifacts service, which holds input and replies."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

from google.protobuf.struct_pb2 import Struct

from llm_gateway.domain.files import INPUT_LIMIT, ReplyFile
from llm_gateway.errors import InputInvalid, InputTooLarge, ReplyExpired
from nagaya.artifacts.v1 import (
    artifact_pb2,
    artifact_service_pb2,
    artifact_service_pb2_grpc,
    upload_service_pb2,
    upload_service_pb2_grpc,
)
from servicekit import status
from servicekit.errors import Conflict, DataLoss, DomainError, InvalidInput, NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    import grpc

    from llm_gateway.domain.calls import CallKey
    from llm_gateway.domain.files import FileRef, ReplyDraft

_BATCH_FILES = 256
_UNARY_BYTES = 2 << 20  # fits into one message with its metadata
_CHUNK = 512 << 10
_ON_LOOP_BYTES = 256 << 10  # hashed here; more in a thread
_DOMAIN = "artifacts.nagaya.dev"
_BATCH_TOO_LARGE = "ERROR_REASON_BATCH_TOO_LARGE"
_CONFLICT = "ERROR_REASON_ARTIFACT_CONFLICT"


class Artifacts:
    """Reads input and stores replies, for the tenant and person of the current call."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._files = artifact_service_pb2_grpc.ArtifactServiceStub(channel)
        self._uploads = upload_service_pb2_grpc.UploadServiceStub(channel)

    async def read(
        self, tenant_id: str, files: Sequence[FileRef], limit: int
    ) -> dict[FileRef, bytes]:
        """Return whole files, each verified here by its sha256.

        Raises InputInvalid for a file that is missing or has another digest, InputTooLarge when
        they are more than `limit` bytes together, Unavailable.
        """
        found: dict[FileRef, bytes] = {}
        for begin in range(0, len(files), _BATCH_FILES):
            found |= await self._read_batch(tenant_id, files[begin : begin + _BATCH_FILES])
        left = limit - sum(map(len, found.values()))
        for file in files:
            if file not in found:
                found[file] = await self._download(tenant_id, file, left)
                left -= len(found[file])
        if left < 0:
            raise InputTooLarge(limit_bytes=str(INPUT_LIMIT))
        if limit - left > _ON_LOOP_BYTES:
            await asyncio.to_thread(_verify, found)
        else:
            _verify(found)
        return found

    async def reply(self, tenant_id: str, file: FileRef) -> AsyncGenerator[bytes]:
        """Yield a stored reply's bytes. Raises ReplyExpired, DataLoss, Unavailable."""
        request = artifact_service_pb2.DownloadArtifactRequest(
            tenant_id=tenant_id, path=file.path, digest=file.digest
        )
        try:
            async for message in self._files.DownloadArtifact(request):
                if message.data:
                    yield message.data
        except NotFound:
            raise ReplyExpired("the reply's file was deleted", output_digest=file.digest) from None

    async def put(self, tenant_id: str, key: CallKey, draft: ReplyDraft) -> ReplyFile | None:
        """Store a reply; None when another one is stored in its place already."""
        try:
            if len(draft.body) <= _UNARY_BYTES:
                stored = await self._put_unary(tenant_id, key, draft)
            else:
                stored = await self._upload(tenant_id, key, draft)
        except Conflict as error:
            if error.reason == _CONFLICT:
                return None
            raise
        return _reply_file(stored)

    async def find(self, tenant_id: str, path: str) -> ReplyFile | None:
        """Return a stored reply's file; None when there is none."""
        request = artifact_service_pb2.GetArtifactRequest(tenant_id=tenant_id, path=path)
        try:
            response = await self._files.GetArtifact(request)
        except NotFound:
            return None
        return _reply_file(response.artifact)

    async def _read_batch(self, tenant_id: str, files: Sequence[FileRef]) -> dict[FileRef, bytes]:
        request = artifact_service_pb2.BatchGetArtifactsRequest(
            tenant_id=tenant_id,
            pointers=[
                artifact_pb2.ArtifactPointer(path=file.path, digest=file.digest) for file in files
            ],
        )
        response = await self._files.BatchGetArtifacts(request)
        found: dict[FileRef, bytes] = {}
        for file, result in zip(files, response.results, strict=True):
            if result.WhichOneof("outcome") == "data":
                found[file] = result.data
                continue
            error = status.from_proto(result.status)
            if error.reason != _BATCH_TOO_LARGE:
                raise _input_error(error, file)
        return found

    async def _download(self, tenant_id: str, file: FileRef, limit: int) -> bytes:
        request = artifact_service_pb2.DownloadArtifactRequest(
            tenant_id=tenant_id, path=file.path, digest=file.digest
        )
        content = bytearray()
        try:
            async for message in self._files.DownloadArtifact(request):
                content += message.data
                if max(len(content), message.artifact.size_bytes) > limit:
                    raise InputTooLarge(limit_bytes=str(INPUT_LIMIT))
        except DomainError as error:
            raise _input_error(error, file) from None
        return bytes(content)

    async def _put_unary(
        self, tenant_id: str, key: CallKey, draft: ReplyDraft
    ) -> artifact_pb2.Artifact:
        item = artifact_service_pb2.BatchPutArtifactsRequest.Item(
            draft=_draft(key, draft), data=draft.body, digest=draft.digest
        )
        request = artifact_service_pb2.BatchPutArtifactsRequest(tenant_id=tenant_id, items=[item])
        response = await self._files.BatchPutArtifacts(request)
        (result,) = response.results
        if result.WhichOneof("outcome") == "artifact":
            return result.artifact
        raise status.from_proto(result.status)

    async def _upload(
        self, tenant_id: str, key: CallKey, draft: ReplyDraft
    ) -> artifact_pb2.Artifact:
        created = await self._uploads.CreateUpload(
            upload_service_pb2.CreateUploadRequest(
                tenant_id=tenant_id,
                draft=_draft(key, draft),
                size_bytes=len(draft.body),
                digest=draft.digest,
            )
        )
        if created.WhichOneof("outcome") == "artifact":
            return created.artifact
        messages = _upload_messages(tenant_id, created.upload.upload_id, draft.body)
        return (await self._files.UploadArtifact(messages)).artifact


async def _upload_messages(
    tenant_id: str, upload_id: str, body: bytes
) -> AsyncIterator[artifact_service_pb2.UploadArtifactRequest]:
    yield artifact_service_pb2.UploadArtifactRequest(tenant_id=tenant_id, upload_id=upload_id)
    for begin in range(0, len(body), _CHUNK):
        yield artifact_service_pb2.UploadArtifactRequest(data=body[begin : begin + _CHUNK])


def _draft(key: CallKey, draft: ReplyDraft) -> artifact_pb2.ArtifactDraft:
    metadata = Struct()
    metadata.update(
        {
            "request_digest": draft.request_digest,
            "attempt": draft.attempt,
            "provider_request_id": draft.provider_request_id,
        }
    )
    return artifact_pb2.ArtifactDraft(
        run_id=str(key.run_id),
        step=key.step,
        name=key.file_name,
        item=key.item,
        visit=key.visit,
        file_type="application/json",
        summary=draft.summary,
        metrics=draft.metrics,
        metadata=metadata,
    )


def _reply_file(artifact: artifact_pb2.Artifact) -> ReplyFile:
    fields = artifact.metadata.fields
    return ReplyFile(
        path=artifact.path,
        digest=artifact.digest,
        summary=artifact.summary,
        request_digest=fields["request_digest"].string_value,
        attempt=int(fields["attempt"].number_value),
        provider_request_id=fields["provider_request_id"].string_value,
    )


def _input_error(error: DomainError, file: FileRef) -> DomainError:
    about_the_file = isinstance(error, NotFound | Conflict | InvalidInput | DataLoss)
    if about_the_file and error.domain == _DOMAIN:
        return InputInvalid(error.message, file.path, "")
    return error


def _verify(found: dict[FileRef, bytes]) -> None:
    for file, content in found.items():
        if hashlib.sha256(content).hexdigest() != file.digest:
            raise InputInvalid("what came has another digest", file.path, "")
