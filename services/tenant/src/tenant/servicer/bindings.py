"""The gRPC services that the process serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.server import bind
from nagaya.tenant.v1 import (
    audit_service_pb2_grpc,
    connection_service_pb2_grpc,
    operation_service_pb2_grpc,
    schema_service_pb2_grpc,
    tenant_service_pb2_grpc,
)

if TYPE_CHECKING:
    from interceptor.server import Binding
    from tenant.servicer.audit import AuditServicer
    from tenant.servicer.connections import ConnectionServicer
    from tenant.servicer.operations import OperationServicer
    from tenant.servicer.schema import SchemaServicer
    from tenant.servicer.tenants import TenantServicer

_PUBLICATION_BYTES = 16 << 20


def bindings(
    tenants: TenantServicer,
    connections: ConnectionServicer,
    schema: SchemaServicer,
    audit: AuditServicer,
    operations: OperationServicer,
) -> list[Binding]:
    """Bind the servicers to the services of the contract."""
    return [
        bind(
            tenant_service_pb2_grpc.add_TenantServiceServicer_to_server,
            tenants,
            "nagaya.tenant.v1.TenantService",
        ),
        bind(
            connection_service_pb2_grpc.add_ConnectionServiceServicer_to_server,
            connections,
            "nagaya.tenant.v1.ConnectionService",
        ),
        bind(
            schema_service_pb2_grpc.add_SchemaServiceServicer_to_server,
            schema,
            "nagaya.tenant.v1.SchemaService",
            max_request_bytes=_PUBLICATION_BYTES,
        ),
        bind(
            audit_service_pb2_grpc.add_AuditServiceServicer_to_server,
            audit,
            "nagaya.tenant.v1.AuditService",
        ),
        bind(
            operation_service_pb2_grpc.add_OperationServiceServicer_to_server,
            operations,
            "nagaya.tenant.v1.OperationService",
        ),
    ]
