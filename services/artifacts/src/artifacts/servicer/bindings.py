"""What the service's process serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from artifacts.servicer.artifacts import ArtifactServicer
from artifacts.servicer.uploads import UploadServicer
from interceptor.server import bind
from nagaya.artifacts.v1 import artifact_service_pb2_grpc, upload_service_pb2_grpc

if TYPE_CHECKING:
    from artifacts.app.service import Service
    from interceptor.server import Binding

_BATCH_BYTES = 8 << 20  # more than the 3 MiB that a batch may have, so that it is told why


def bindings(service: Service) -> list[Binding]:
    return [
        bind(
            artifact_service_pb2_grpc.add_ArtifactServiceServicer_to_server,
            ArtifactServicer(service),
            "nagaya.artifacts.v1.ArtifactService",
            max_request_bytes=_BATCH_BYTES,
        ),
        bind(
            upload_service_pb2_grpc.add_UploadServiceServicer_to_server,
            UploadServicer(service.keys, service.uploads),
            "nagaya.artifacts.v1.UploadService",
        ),
    ]
