"""Uploads and downloads of files and replies, verified by sha256 on this side too."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc

from nagaya.artifacts.v1 import artifact_pb2, artifact_service_pb2, upload_service_pb2
from nagaya.llm_gateway.v1 import call_pb2, call_service_pb2
from nagaya_client.errors import ApiError, BytesCorrupt
from nagaya_client.transfer_retries import pause_seconds

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from pathlib import Path
    from typing import Any, BinaryIO

    from grpc.aio import UnaryStreamCall

    from nagaya.artifacts.v1.artifact_service_pb2_grpc import ArtifactServiceStub
    from nagaya.artifacts.v1.upload_service_pb2_grpc import UploadServiceStub
    from nagaya.llm_gateway.v1.call_service_pb2_grpc import CallServiceStub

_CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class UploadTarget:
    """The place of an uploaded file in its run, and its description."""

    run_id: str
    step: str
    name: str = "output.json"
    item: int = 0
    visit: int = 1
    file_type: str = "application/json"
    summary: str = ""
    metrics: Mapping[str, int] = field(default_factory=dict[str, int])

    def draft(self) -> artifact_pb2.ArtifactDraft:
        return artifact_pb2.ArtifactDraft(
            run_id=self.run_id,
            step=self.step,
            name=self.name,
            item=self.item,
            visit=self.visit,
            file_type=self.file_type,
            summary=self.summary,
            metrics=self.metrics,
        )


async def upload(
    uploads: UploadServiceStub,
    artifacts: ArtifactServiceStub,
    tenant_id: str,
    target: UploadTarget,
    source: Path,
) -> artifact_pb2.Artifact:
    """Commit a file; nothing is sent when the same one is committed there already.

    A stream that breaks is sent again. Raises ApiError, and OSError when `source` cannot be read.
    """
    size, digest = await asyncio.to_thread(measure, source)
    request = upload_service_pb2.CreateUploadRequest(
        tenant_id=tenant_id, draft=target.draft(), size_bytes=size, digest=digest
    )
    failures = 0
    while True:
        # Asked each time: the stream whose answer was lost may have committed the file.
        announced = await uploads.CreateUpload(request)
        if announced.WhichOneof("outcome") == "artifact":
            return announced.artifact
        try:
            messages = _messages(tenant_id, announced.upload.upload_id, source)
            return (await artifacts.UploadArtifact(messages)).artifact
        except ApiError as error:
            failures += 1
            await asyncio.sleep(pause_seconds(error, failures))


async def download(
    artifacts: ArtifactServiceStub, tenant_id: str, path: str, target: Path
) -> artifact_pb2.Artifact:
    """Fetch a file; `target` appears whole and verified, or not at all.

    Raises ApiError, BytesCorrupt, and OSError when `target` cannot be written.
    """
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    file = await asyncio.to_thread(_create, draft, target)
    reading = Download(artifacts, tenant_id, path)
    try:
        with file:
            async with aclosing(reading.chunks()) as chunks:
                async for chunk in chunks:
                    await asyncio.to_thread(file.write, chunk)
        await asyncio.to_thread(draft.replace, target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return reading.artifact


def _create(draft: Path, target: Path) -> BinaryIO:
    """Open a new file for writing; errors name `target`. Raises OSError."""
    try:
        return draft.open("xb")
    except FileNotFoundError as error:
        missing = f"there is no folder {target.parent}"
        raise FileNotFoundError(error.errno, missing, str(target)) from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from None


class Download:
    """A file read chunk by chunk, verified after the last."""

    def __init__(self, artifacts: ArtifactServiceStub, tenant_id: str, path: str) -> None:
        self._artifacts = artifacts
        self._tenant_id = tenant_id
        self._path = path
        self._sha256 = hashlib.sha256()
        self.size = 0
        """Bytes received."""
        self.artifact = artifact_pb2.Artifact()
        """The file's record, set once the first chunk is received."""

    @property
    def digest(self) -> str:
        """The sha256 of the bytes received."""
        return self._sha256.hexdigest()

    async def chunks(self) -> AsyncGenerator[bytes]:
        """Yield the bytes in order; a stream that breaks goes on where it broke.

        Raises ApiError, and BytesCorrupt at the end if the bytes are not those of the digest.
        """
        failures = 0
        while True:
            try:
                async with aclosing(self._rest()) as chunks:
                    async for chunk in chunks:
                        failures = 0 if chunk else failures
                        yield chunk
                break
            except ApiError as error:
                if self.artifact.digest and self.size == self.artifact.size_bytes:
                    break  # only the end of the stream was lost
                failures += 1
                await asyncio.sleep(pause_seconds(error, failures))
        self._verify()

    async def _rest(self) -> AsyncGenerator[bytes]:
        request = artifact_service_pb2.DownloadArtifactRequest(
            tenant_id=self._tenant_id,
            path=self._path,
            digest=self.artifact.digest,  # what goes on must be the file that was begun
            offset=self.size,
        )
        stream = self._artifacts.DownloadArtifact(request)
        try:
            async for response in stream:
                if response.WhichOneof("part") == "artifact":
                    self.artifact = response.artifact
                else:
                    self.size += len(response.data)
                    self._sha256.update(response.data)
                    yield response.data
        finally:
            stream.cancel()
        if not self.artifact.digest or self.size < self.artifact.size_bytes:
            message = f"{self._path}: the stream ended after {self.size:,} bytes, before the file"
            raise ApiError(grpc.StatusCode.UNAVAILABLE, message)

    def _verify(self) -> None:
        if (self.size, self.digest) != (self.artifact.size_bytes, self.artifact.digest):
            raise BytesCorrupt(
                f"{self._path}: {self.size:,} bytes with sha256 {self.digest} came, "
                f"the record says {self.artifact.size_bytes:,} with {self.artifact.digest}",
                "Fetch it again; if that does not help, tell whoever runs the server.",
            )


async def reply(calls: CallServiceStub, tenant_id: str, key: call_pb2.CallKey) -> bytes:
    """Fetch the reply to a settled call; a stream that breaks is begun anew.

    Raises ApiError, and BytesCorrupt when the bytes are not those of the call's digest.
    """
    request = call_service_pb2.GetReplyRequest(tenant_id=tenant_id, key=key)
    failures = 0
    while True:
        try:
            return await _reply(calls.GetReply(request))
        except ApiError as error:
            failures += 1
            await asyncio.sleep(pause_seconds(error, failures))


async def _reply(stream: UnaryStreamCall[Any, call_service_pb2.GetReplyResponse]) -> bytes:
    call, body = call_pb2.Call(), bytearray()
    try:
        async for response in stream:
            if response.WhichOneof("part") == "call":
                call = response.call
            else:
                body += response.data
    finally:
        stream.cancel()
    digest = hashlib.sha256(body).hexdigest()
    if digest != call.output_digest:
        raise BytesCorrupt(
            f"{len(body):,} bytes with sha256 {digest} came, the call says {call.output_digest}",
            "Fetch it again; if that does not help, tell whoever runs the server.",
        )
    return bytes(body)


def measure(source: Path) -> tuple[int, str]:
    """Return a file's size in bytes and its sha256. Raises OSError."""
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), digest


async def _messages(
    tenant_id: str, upload_id: str, source: Path
) -> AsyncGenerator[artifact_service_pb2.UploadArtifactRequest]:
    yield artifact_service_pb2.UploadArtifactRequest(tenant_id=tenant_id, upload_id=upload_id)
    with await asyncio.to_thread(source.open, "rb") as file:
        while data := await asyncio.to_thread(_read, file):
            yield artifact_service_pb2.UploadArtifactRequest(data=data)


def _read(file: BinaryIO) -> bytes:
    return file.read(_CHUNK_BYTES)
