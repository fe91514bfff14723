"""The artifacts service: reading and committing files."""

from __future__ import annotations

import hashlib
from itertools import islice
from typing import TYPE_CHECKING

from nagaya.artifacts.v1 import artifact_pb2, upload_service_pb2, upload_service_pb2_grpc
from nagaya.artifacts.v1 import artifact_service_pb2 as pb
from nagaya.artifacts.v1 import artifact_service_pb2_grpc as grpc_stubs
from runs.domain.failures import ReadTooLarge
from runs.domain.metrics import Metrics
from runs.domain.outputs import BYTES_AT_ONCE, StoredFile
from runs.domain.runs import OutputFile
from runs.peers.recent_files import RecentFiles
from servicekit import status
from servicekit.batches import Batcher, Limits
from servicekit.call import current_call
from servicekit.errors import Conflict, DomainError, NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Sequence

    import grpc

    from nagaya_functions import FilePointer
    from runs.domain.outputs import FileCopy, FileDraft

_PUTS = Limits(weight=BYTES_AT_ONCE, at_once=4)
_MOST_PUTS = 256
_SHARED_BYTES = 64 << 10
"""Files of more than this wait for, and delay, only those of their own run."""
_MOST_RECENT = 64
_CHUNK_BYTES = 512 << 10
_CONFLICT = "ERROR_REASON_ARTIFACT_CONFLICT"
_TOO_LARGE = "ERROR_REASON_BATCH_TOO_LARGE"
_FILE_TOO_LARGE = "ERROR_REASON_VALUE_TOO_LARGE"


class Artifacts:
    """The files of runs. Calls act for the tenant and person of the call being served."""

    def __init__(
        self, channel: grpc.aio.Channel, prefix_of: Callable[[str], str] = lambda _: ""
    ) -> None:
        self._prefix_of = prefix_of
        self._stub = grpc_stubs.ArtifactServiceStub(channel)
        self._uploads = upload_service_pb2_grpc.UploadServiceStub(channel)
        self._puts = Batcher(self._put_all, _PUTS)
        self._recent = RecentFiles()

    def prefix(self, tenant_id: str) -> str:
        """Return what the paths of a tenant's files begin with."""
        return self._prefix_of(tenant_id) or f"storage/{tenant_id}"

    async def find(self, tenant_id: str, path: str) -> OutputFile | None:
        """Return what is known of a file; None if none is committed there."""
        try:
            response = await self._stub.GetArtifact(
                pb.GetArtifactRequest(tenant_id=tenant_id, path=path)
            )
        except NotFound:
            return None
        return output_file(response.artifact)

    async def put(self, tenant_id: str, draft: FileDraft, data: bytes) -> OutputFile:
        """Commit a small file, at most 3 MiB.

        A step leaves one output, and its first commit wins: when an earlier attempt has committed
        another one, that one is returned.
        """
        item = pb.BatchPutArtifactsRequest.Item(draft=_draft(draft), data=data)
        weight = max(len(data), BYTES_AT_ONCE // _MOST_PUTS)
        call = current_call()
        user_id = None if call is None else call.user_id
        shared = len(data) <= _SHARED_BYTES
        group = (tenant_id, user_id, "" if shared else draft.run_id)
        names = [(draft.run_id, draft.step, draft.name)]
        result = await self._puts.submit(group, names, item, weight)
        if result.WhichOneof("outcome") == "status":
            return await self._committed(tenant_id, status.from_proto(result.status))
        self._recent.add(tenant_id, result.artifact.digest, data)
        return output_file(result.artifact)

    def recent(self, tenant_id: str, pointers: Iterable[FilePointer]) -> tuple[bytes, ...]:
        """Return those of some files, whole, that were committed here lately; a few MiB at most."""
        digests = dict.fromkeys(pointer.digest for pointer in pointers)
        found = (self._recent.find(tenant_id, digest) for digest in digests)
        return tuple(islice((data for data in found if data is not None), _MOST_RECENT))

    async def upload(self, tenant_id: str, draft: FileDraft, data: bytes) -> OutputFile:
        """Commit a file of any size. The first commit of a path wins, as in `put`."""
        request = upload_service_pb2.CreateUploadRequest(
            tenant_id=tenant_id,
            draft=_draft(draft),
            size_bytes=len(data),
            digest=hashlib.sha256(data).hexdigest(),
        )
        try:
            created = await self._uploads.CreateUpload(request)
            if created.WhichOneof("outcome") == "artifact":
                return output_file(created.artifact)
            chunks = _chunks(tenant_id, created.upload.upload_id, data)
            return output_file((await self._stub.UploadArtifact(chunks)).artifact)
        except Conflict as error:
            return await self._committed(tenant_id, error)

    async def _put_all(
        self, group: tuple[str, str | None, str], items: list[pb.BatchPutArtifactsRequest.Item]
    ) -> Sequence[pb.BatchPutArtifactsResponse.Result]:
        """Commit small files for one person: of several runs, or larger ones of one run."""
        tenant_id, _, _ = group
        request = pb.BatchPutArtifactsRequest(tenant_id=tenant_id, items=items)
        return (await self._stub.BatchPutArtifacts(request)).results

    async def copy(self, tenant_id: str, source: FilePointer, draft: FileDraft) -> OutputFile:
        """Commit a copy of a JSON value in a file. The first commit of a path wins, as in `put`."""
        request = pb.CopyArtifactRequest(
            tenant_id=tenant_id, source=_pointer(source), target=_draft(draft)
        )
        try:
            response = await self._stub.CopyArtifact(request)
        except Conflict as error:
            return await self._committed(tenant_id, error)
        return output_file(response.artifact)

    async def list_files(
        self, tenant_id: str, run_id: str, step: str, token: str
    ) -> tuple[tuple[StoredFile, ...], str]:
        """Return some files of a step, by path, and the token for more; empty at the end."""
        response = await self._stub.ListArtifacts(
            pb.ListArtifactsRequest(
                tenant_id=tenant_id, run_id=run_id, step=step, page_size=200, page_token=token
            )
        )
        files = (
            StoredFile(each.path, each.digest, each.name, each.item, each.visit)
            for each in response.artifacts
        )
        return tuple(files), response.next_page_token

    async def copy_files(self, tenant_id: str, copies: Sequence[FileCopy]) -> None:
        """Commit copies of files as they are, at most 256. Raises the first refusal."""
        request = pb.BatchCopyArtifactsRequest(tenant_id=tenant_id, copies=map(_copy, copies))
        for result in (await self._stub.BatchCopyArtifacts(request)).results:
            if result.WhichOneof("outcome") == "status":
                raise status.from_proto(result.status)

    async def read(self, tenant_id: str, pointers: Sequence[FilePointer]) -> tuple[bytes, ...]:
        """Return JSON values of files, in their shortest form, at most 3 MiB together.

        Raises ReadTooLarge.
        """
        request = pb.BatchGetArtifactsRequest(
            tenant_id=tenant_id, pointers=[_pointer(pointer) for pointer in pointers]
        )
        response = await self._stub.BatchGetArtifacts(request)
        for pointer, result in zip(pointers, response.results, strict=True):
            if result.WhichOneof("outcome") == "status":
                raise _read_failure(pointer, status.from_proto(result.status))
        return tuple(result.data for result in response.results)

    async def stream(self, tenant_id: str, pointer: FilePointer) -> AsyncGenerator[bytes]:
        """Yield a file's bytes, verified, in chunks of at most 1 MiB."""
        request = pb.DownloadArtifactRequest(
            tenant_id=tenant_id, path=pointer.path, digest=pointer.digest
        )
        async for response in self._stub.DownloadArtifact(request):
            if response.WhichOneof("part") == "data":
                yield response.data

    async def _committed(self, tenant_id: str, refusal: DomainError) -> OutputFile:
        """Return the file that was committed before, if that is what the refusal says."""
        if refusal.reason != _CONFLICT:
            raise refusal
        committed = await self.find(tenant_id, refusal.metadata["path"])
        if committed is None:
            raise refusal
        return committed


def _read_failure(pointer: FilePointer, refusal: DomainError) -> DomainError | ReadTooLarge:
    """Return what a refusal to send a JSON value means to a step."""
    what = f"the value at {pointer.json_pointer!r}" if pointer.json_pointer else "the file"
    if refusal.reason == _TOO_LARGE:
        return ReadTooLarge(f"{what} takes more than {BYTES_AT_ONCE:,} bytes")
    if refusal.reason == _FILE_TOO_LARGE:
        limit = int(refusal.metadata["limit_bytes"])
        return ReadTooLarge(f"{what} lies in a file of more than {limit:,} bytes")
    return refusal


def output_file(artifact: artifact_pb2.Artifact) -> OutputFile:
    return OutputFile(
        output_path=artifact.path,
        output_digest=artifact.digest,
        summary=artifact.summary,
        metrics=dict(artifact.metrics),
        fractional_metrics=dict(artifact.fractional_metrics),
    )


async def _chunks(
    tenant_id: str, upload_id: str, data: bytes
) -> AsyncGenerator[pb.UploadArtifactRequest]:
    """Yield the messages of an upload."""
    yield pb.UploadArtifactRequest(tenant_id=tenant_id, upload_id=upload_id)
    for begin in range(0, len(data), _CHUNK_BYTES):
        yield pb.UploadArtifactRequest(data=data[begin : begin + _CHUNK_BYTES])


def _pointer(pointer: FilePointer) -> artifact_pb2.ArtifactPointer:
    return artifact_pb2.ArtifactPointer(
        path=pointer.path, digest=pointer.digest, json_pointer=pointer.json_pointer
    )


def _copy(copy: FileCopy) -> pb.BatchCopyArtifactsRequest.Copy:
    return pb.BatchCopyArtifactsRequest.Copy(
        path=copy.file.path,
        digest=copy.file.digest,
        run_id=copy.run_id,
        step=copy.step,
        name=copy.name,
        item=copy.item,
        visit=copy.file.visit,
    )


def _draft(draft: FileDraft) -> artifact_pb2.ArtifactDraft:
    metrics = Metrics.of(draft.metrics)
    return artifact_pb2.ArtifactDraft(
        run_id=draft.run_id,
        step=draft.step,
        name=draft.name,
        item=draft.item,
        visit=draft.visit,
        file_type=draft.file_type,
        summary=draft.summary,
        metrics=metrics.whole,
        fractional_metrics=metrics.fractional,
    )
