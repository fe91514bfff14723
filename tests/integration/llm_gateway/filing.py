"""Files of a run, as its worker writes and reads them."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import TYPE_CHECKING, Any

import grpc

from nagaya.artifacts.v1 import (
    artifact_pb2,
    artifact_service_pb2,
    artifact_service_pb2_grpc,
    upload_service_pb2,
    upload_service_pb2_grpc,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.integration.llm_gateway.house import House

    from nagaya.llm_gateway.v1 import call_pb2


class Files:
    """The files of one run of one tenant."""

    def __init__(self, house: House, tenant_id: str, run_id: str) -> None:
        self._tenant_id = tenant_id
        self._run_id = run_id
        self._channel = grpc.aio.insecure_channel(house.artifacts.address)
        self._files = artifact_service_pb2_grpc.ArtifactServiceStub(self._channel)
        self._uploads = upload_service_pb2_grpc.UploadServiceStub(self._channel)
        self._keys = house.keys
        self._metadata = self._as("runs")

    async def close(self) -> None:
        await self._channel.close()

    async def reply(self, call: call_pb2.Call) -> dict[str, Any]:
        """Return the reply's file of a settled call."""
        pointer = artifact_pb2.ArtifactPointer(path=call.output_path, digest=call.output_digest)
        return json.loads(await self.read(pointer))

    async def read(self, pointer: artifact_pb2.ArtifactPointer) -> bytes:
        request = artifact_service_pb2.BatchGetArtifactsRequest(
            tenant_id=self._tenant_id, pointers=[pointer]
        )
        response = await self._files.BatchGetArtifacts(request, metadata=self._metadata)
        (result,) = response.results
        assert result.WhichOneof("outcome") == "data", result
        return result.data

    async def write(
        self,
        data: bytes,
        *,
        step: str = "outline",
        name: str = "output.json",
        writer: str = "runs",
    ) -> artifact_pb2.Artifact:
        """Commit a file of this run, as a workload."""
        draft = artifact_pb2.ArtifactDraft(run_id=self._run_id, step=step, name=name, visit=1)
        item = artifact_service_pb2.BatchPutArtifactsRequest.Item(draft=draft, data=data)
        request = artifact_service_pb2.BatchPutArtifactsRequest(
            tenant_id=self._tenant_id, items=[item]
        )
        response = await self._files.BatchPutArtifacts(request, metadata=self._as(writer))
        (result,) = response.results
        assert result.WhichOneof("outcome") == "artifact", result
        return result.artifact

    async def upload(self, data: bytes, *, step: str = "outline") -> artifact_pb2.Artifact:
        """Commit a large file of this run."""
        draft = artifact_pb2.ArtifactDraft(
            run_id=self._run_id, step=step, name="output.json", visit=1
        )
        request = upload_service_pb2.CreateUploadRequest(
            tenant_id=self._tenant_id,
            draft=draft,
            size_bytes=len(data),
            digest=hashlib.sha256(data).hexdigest(),
        )
        created = await self._uploads.CreateUpload(request, metadata=self._metadata)

        async def messages() -> AsyncIterator[artifact_service_pb2.UploadArtifactRequest]:
            yield artifact_service_pb2.UploadArtifactRequest(
                tenant_id=self._tenant_id, upload_id=created.upload.upload_id
            )
            for begin in range(0, len(data), 1 << 20):
                yield artifact_service_pb2.UploadArtifactRequest(
                    data=data[begin : begin + (1 << 20)]
                )

        return (await self._files.UploadArtifact(messages(), metadata=self._metadata)).artifact

    async def until_stored(self) -> None:
        """Return when the first call's reply is in the artifacts service."""
        path = f"storage/{self._tenant_id}/{self._run_id}/draft/artifacts/0-1/call-1.json"
        request = artifact_service_pb2.GetArtifactRequest(tenant_id=self._tenant_id, path=path)
        async with asyncio.timeout(20):
            while True:
                try:
                    await self._files.GetArtifact(request, metadata=self._metadata)
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.02)  # another process's files are nothing to wait on
                else:
                    return

    def _as(self, workload: str) -> list[tuple[str, str]]:
        token = self._keys.signer(workload).token(self._tenant_id, "ada")
        return [("authorization", f"Bearer {token}")]
