"""Conversion between protobuf messages and the domain."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import MessageToDict

from artifacts.domain.files import Artifact, ArtifactPointer, BatchItem, Draft, FileCopy, Upload
from artifacts.domain.tenant_objects import TenantObject
from nagaya.artifacts.v1 import artifact_pb2, artifact_service_pb2, upload_pb2, upload_service_pb2
from nagaya.tenant_data.v1 import tenant_export_service_pb2
from servicekit import status
from servicekit.errors import DomainError, RequestInvalid, Violation
from servicekit.times import timestamp

if TYPE_CHECKING:
    from google.rpc.status_pb2 import Status

    from artifacts.domain.keys import BucketLayout

ERROR_DOMAIN = "artifacts.nagaya.dev"
_METADATA_BYTES = 4096
_DATA_TAG = bytes((artifact_service_pb2.DownloadArtifactResponse.DATA_FIELD_NUMBER << 3 | 2,))


def draft(layout: BucketLayout, tenant_id: str, message: artifact_pb2.ArtifactDraft) -> Draft:
    """Convert a draft. Raises NameInvalid, RequestInvalid."""
    _refuse_nul("summary", message.summary)
    return Draft(
        key=layout.key(tenant_id, message.run_id, message.step, message.name),
        item=message.item,
        visit=message.visit or 1,
        file_type=message.file_type or "application/json",
        summary=message.summary,
        metrics=dict(message.metrics),
        fractional_metrics=dict(message.fractional_metrics),
        metadata=_metadata(message) if message.HasField("metadata") else {},
    )


def exported(part: TenantObject | bytes) -> tenant_export_service_pb2.ExportTenantDataResponse:
    if isinstance(part, bytes):
        return tenant_export_service_pb2.ExportTenantDataResponse(data=part)
    found = tenant_export_service_pb2.TenantObject(
        key=part.key, digest=part.digest, size_bytes=part.size_bytes
    )
    return tenant_export_service_pb2.ExportTenantDataResponse(object=found)


def imported(message: tenant_export_service_pb2.ImportTenantDataRequest) -> TenantObject | bytes:
    """Convert what a message of ImportTenantData carries."""
    if message.WhichOneof("part") == "data":
        return message.data
    announced = message.object
    return TenantObject(announced.key, announced.digest, announced.size_bytes)


def pointer(
    layout: BucketLayout, tenant_id: str, message: artifact_pb2.ArtifactPointer
) -> ArtifactPointer:
    """Convert a pointer. Raises PathInvalid."""
    return ArtifactPointer(
        layout.parse(tenant_id, message.path), message.digest, message.json_pointer
    )


def pointer_or_error(
    layout: BucketLayout, tenant_id: str, message: artifact_pb2.ArtifactPointer
) -> ArtifactPointer | DomainError:
    try:
        return pointer(layout, tenant_id, message)
    except DomainError as error:
        return error


def item(
    layout: BucketLayout,
    tenant_id: str,
    message: artifact_service_pb2.BatchPutArtifactsRequest.Item,
) -> BatchItem | DomainError:
    try:
        return BatchItem(draft(layout, tenant_id, message.draft), message.data, message.digest)
    except DomainError as error:
        return error


def file_copy(
    layout: BucketLayout,
    tenant_id: str,
    message: artifact_service_pb2.BatchCopyArtifactsRequest.Copy,
) -> FileCopy | DomainError:
    try:
        return FileCopy(
            layout.parse(tenant_id, message.path),
            message.digest,
            layout.key(tenant_id, message.run_id, message.step, message.name),
            message.item,
            message.visit or 1,
        )
    except DomainError as error:
        return error


def artifact(file: Artifact) -> artifact_pb2.Artifact:
    message = artifact_pb2.Artifact(
        path=file.path,
        digest=file.digest,
        size_bytes=file.size_bytes,
        run_id=str(file.key.run_id),
        step=file.key.step,
        name=file.key.name,
        item=file.draft.item,
        visit=file.draft.visit,
        file_type=file.draft.file_type,
        summary=file.draft.summary,
        metrics=file.draft.metrics,
        fractional_metrics=file.draft.fractional_metrics,
        create_time=timestamp(file.create_time),
    )
    if file.draft.metadata:
        message.metadata.update(dict(file.draft.metadata))
    return message


def downloaded(chunk: bytes) -> bytes:
    """Return the DownloadArtifactResponse with a chunk, serialized: a message copies it thrice."""
    length, size = bytearray(), len(chunk)
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return b"".join((_DATA_TAG, length, chunk))


def create_upload_response(outcome: Upload | Artifact) -> upload_service_pb2.CreateUploadResponse:
    if isinstance(outcome, Artifact):
        return upload_service_pb2.CreateUploadResponse(artifact=artifact(outcome))
    upload = upload_pb2.Upload(
        upload_id=outcome.upload_id,
        path=outcome.draft.key.path,
        expire_time=timestamp(outcome.expire_time),
    )
    return upload_service_pb2.CreateUploadResponse(upload=upload)


def put_result(
    outcome: Artifact | DomainError,
) -> artifact_service_pb2.BatchPutArtifactsResponse.Result:
    if isinstance(outcome, DomainError):
        return artifact_service_pb2.BatchPutArtifactsResponse.Result(status=_status(outcome))
    return artifact_service_pb2.BatchPutArtifactsResponse.Result(artifact=artifact(outcome))


def copy_result(
    outcome: Artifact | DomainError,
) -> artifact_service_pb2.BatchCopyArtifactsResponse.Result:
    if isinstance(outcome, DomainError):
        return artifact_service_pb2.BatchCopyArtifactsResponse.Result(status=_status(outcome))
    return artifact_service_pb2.BatchCopyArtifactsResponse.Result(artifact=artifact(outcome))


def get_result(
    outcome: bytes | DomainError,
) -> artifact_service_pb2.BatchGetArtifactsResponse.Result:
    if isinstance(outcome, DomainError):
        return artifact_service_pb2.BatchGetArtifactsResponse.Result(status=_status(outcome))
    return artifact_service_pb2.BatchGetArtifactsResponse.Result(data=outcome)


def _status(error: DomainError) -> Status:
    return status.to_proto(error, ERROR_DOMAIN)


def _metadata(message: artifact_pb2.ArtifactDraft) -> dict[str, Any]:
    if message.metadata.ByteSize() > _METADATA_BYTES:
        raise _invalid("metadata", f"is larger than {_METADATA_BYTES} bytes")
    try:
        found = MessageToDict(message.metadata)
        _refuse_nul("metadata", json.dumps(found, allow_nan=False, ensure_ascii=False))
    except ValueError:
        raise _invalid("metadata", "holds a number that JSON has not") from None
    return found


def _refuse_nul(field: str, text: str) -> None:
    if "\0" in text or "\\u0000" in text:
        raise _invalid(field, "holds the character U+0000")


def _invalid(field: str, description: str) -> RequestInvalid:
    return RequestInvalid(
        f"{field} {description}", violations=(Violation(f"draft.{field}", description),)
    )
