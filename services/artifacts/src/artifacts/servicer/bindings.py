"""The gRPC services that the process serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.server import bind
from nagaya.artifacts.v1 import artifact_service_pb2_grpc, upload_service_pb2_grpc
from nagaya.tenant_data.v1 import tenant_export_service_pb2_grpc
from nagaya.tenant_data.v1.tenant_data_service_pb2_grpc import (
    add_TenantDataServiceServicer_to_server,
)

if TYPE_CHECKING:
    from artifacts.servicer.artifacts import ArtifactServicer
    from artifacts.servicer.tenant_export import TenantExportServicer
    from artifacts.servicer.uploads import UploadServicer
    from interceptor.server import Binding
    from tenantdata.servicer import TenantDataServicer

_PART_BYTES = 2 << 20
_BATCH_BYTES = 8 << 20  # more than the 3 MiB of a batch, so that the refusal can say why


def bindings(
    artifacts: ArtifactServicer,
    uploads: UploadServicer,
    tenant_export: TenantExportServicer,
    tenant_data: TenantDataServicer,
) -> list[Binding]:
    """Bind the servicers to the services of the contract."""
    return [
        bind(
            artifact_service_pb2_grpc.add_ArtifactServiceServicer_to_server,
            artifacts,
            "nagaya.artifacts.v1.ArtifactService",
            max_request_bytes=_BATCH_BYTES,
        ),
        bind(
            upload_service_pb2_grpc.add_UploadServiceServicer_to_server,
            uploads,
            "nagaya.artifacts.v1.UploadService",
        ),
        bind(
            tenant_export_service_pb2_grpc.add_TenantExportServiceServicer_to_server,
            tenant_export,
            "nagaya.tenant_data.v1.TenantExportService",
            max_request_bytes=_PART_BYTES,
        ),
        bind(
            add_TenantDataServiceServicer_to_server,
            tenant_data,
            "nagaya.tenant_data.v1.TenantDataService",
        ),
    ]
