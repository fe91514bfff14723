"""A client of the service artifacts, and where a tenant's objects lie."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.rpc import error_details_pb2
from tests.support.waiting import fewer_run, wait_until

from nagaya.artifacts.v1 import (
    artifact_pb2,
    artifact_service_pb2,
    artifact_service_pb2_grpc,
    upload_service_pb2,
    upload_service_pb2_grpc,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

    import grpc
    from google.rpc.status_pb2 import Status

    from servicekit.testing import Keys

MEBIBYTE = 1 << 20


def digest_of(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def acting_for(tenant_id: str, keys: Keys, workload: str = "runs") -> str:
    """Return the token of a workload that acts for a tenant's Ada."""
    return keys.signer(workload).token(tenant_id, "ada")


@dataclass(frozen=True, slots=True)
class ArtifactsClient:
    """One caller's view of the service, with the files of one run; objects lie in `objects`."""

    channel: grpc.aio.Channel
    objects: Path
    tenant_id: str
    run_id: str
    step: str = "draft"

    @property
    def artifacts(self) -> artifact_service_pb2_grpc.ArtifactServiceStub:
        return artifact_service_pb2_grpc.ArtifactServiceStub(self.channel)

    @property
    def uploads(self) -> upload_service_pb2_grpc.UploadServiceStub:
        return upload_service_pb2_grpc.UploadServiceStub(self.channel)

    def draft(
        self,
        name: str = "output.json",
        step: str | None = None,
        file_type: str = "application/octet-stream",
        *,
        run_id: str = "",
        item: int = 0,
        visit: int = 0,
        summary: str = "",
    ) -> artifact_pb2.ArtifactDraft:
        return artifact_pb2.ArtifactDraft(
            run_id=run_id or self.run_id,
            step=self.step if step is None else step,
            name=name,
            item=item,
            visit=visit,
            file_type=file_type,
            summary=summary,
        )

    def path(self, name: str = "output.json", step: str | None = None) -> str:
        folder = self.step if step is None else step
        return f"storage/{self.tenant_id}/{self.run_id}/{folder}/{name}"

    def on_disk(self, path: str) -> Path:
        return self.objects / path

    async def create_upload(
        self, draft: artifact_pb2.ArtifactDraft, body: bytes, digest: str = ""
    ) -> upload_service_pb2.CreateUploadResponse:
        return await self.uploads.CreateUpload(
            upload_service_pb2.CreateUploadRequest(
                tenant_id=self.tenant_id,
                draft=draft,
                size_bytes=len(body),
                digest=digest or digest_of(body),
            )
        )

    async def send_upload(
        self, upload_id: str, body: bytes, piece_bytes: int = MEBIBYTE
    ) -> artifact_pb2.Artifact:
        requests = _requests(self.tenant_id, upload_id, body, piece_bytes)
        return (await self.artifacts.UploadArtifact(requests)).artifact

    async def upload(
        self, draft: artifact_pb2.ArtifactDraft, body: bytes, piece_bytes: int = MEBIBYTE
    ) -> artifact_pb2.Artifact:
        """Announce a file and send it, unless it is there already."""
        answer = await self.create_upload(draft, body)
        if answer.WhichOneof("outcome") == "artifact":
            return answer.artifact
        return await self.send_upload(answer.upload.upload_id, body, piece_bytes)

    async def download(self, path: str, digest: str = "", offset: int = 0, limit: int = 0) -> bytes:
        return b"".join([piece async for piece in self.stream(path, digest, offset, limit)])

    async def receive(self, path: str, into: bytearray) -> None:
        """Download a file; what came before an error stays in `into`."""
        async for piece in self.stream(path):
            into += piece

    async def stream(
        self, path: str, digest: str = "", offset: int = 0, limit: int = 0
    ) -> AsyncIterator[bytes]:
        request = artifact_service_pb2.DownloadArtifactRequest(
            tenant_id=self.tenant_id, path=path, digest=digest, offset=offset, limit=limit
        )
        async for message in self.artifacts.DownloadArtifact(request):
            if message.WhichOneof("part") == "data":
                yield message.data

    async def put(
        self, *items: tuple[artifact_pb2.ArtifactDraft, bytes]
    ) -> list[artifact_service_pb2.BatchPutArtifactsResponse.Result]:
        request = artifact_service_pb2.BatchPutArtifactsRequest(
            tenant_id=self.tenant_id,
            items=[
                artifact_service_pb2.BatchPutArtifactsRequest.Item(draft=draft, data=body)
                for draft, body in items
            ],
        )
        return list((await self.artifacts.BatchPutArtifacts(request)).results)

    async def put_one(
        self, body: bytes, draft: artifact_pb2.ArtifactDraft
    ) -> artifact_pb2.Artifact:
        """Commit one small file. Fails the test when it is refused."""
        result = (await self.put((draft, body)))[0]
        assert result.WhichOneof("outcome") == "artifact", result.status
        return result.artifact

    async def get(
        self, *pointers: artifact_pb2.ArtifactPointer
    ) -> list[artifact_service_pb2.BatchGetArtifactsResponse.Result]:
        request = artifact_service_pb2.BatchGetArtifactsRequest(
            tenant_id=self.tenant_id, pointers=pointers
        )
        return list((await self.artifacts.BatchGetArtifacts(request)).results)

    async def copy(
        self,
        source: artifact_pb2.Artifact,
        target: artifact_pb2.ArtifactDraft,
        json_pointer: str = "",
    ) -> artifact_pb2.Artifact:
        request = artifact_service_pb2.CopyArtifactRequest(
            tenant_id=self.tenant_id,
            source=pointer(source, json_pointer),
            target=target,
        )
        return (await self.artifacts.CopyArtifact(request)).artifact


def pointer(
    artifact: artifact_pb2.Artifact, json_pointer: str = ""
) -> artifact_pb2.ArtifactPointer:
    return artifact_pb2.ArtifactPointer(
        path=artifact.path, digest=artifact.digest, json_pointer=json_pointer
    )


def reason_of(status: Status) -> str:
    """Return the reason of a status that stands in a batch's results."""
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info.reason


async def wait_for_file(path: Path, *writers: asyncio.Future[Any]) -> None:
    """Return when a file is there. Fails the test at once when the tasks that write have ended."""
    await wait_until(lambda: asyncio.to_thread(path.exists), unless=fewer_run(writers))


async def _requests(
    tenant_id: str, upload_id: str, body: bytes, piece_bytes: int
) -> AsyncIterator[artifact_service_pb2.UploadArtifactRequest]:
    yield artifact_service_pb2.UploadArtifactRequest(tenant_id=tenant_id, upload_id=upload_id)
    for piece in pieces(body, piece_bytes):
        yield artifact_service_pb2.UploadArtifactRequest(data=piece)


def pieces(body: bytes, piece_bytes: int) -> Iterable[bytes]:
    return (body[start : start + piece_bytes] for start in range(0, len(body), piece_bytes))
