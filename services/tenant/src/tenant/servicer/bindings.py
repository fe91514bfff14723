"""The services that this process serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.server import bind
from nagaya.tenant.v1 import (
    audit_service_pb2_grpc,
    connection_service_pb2_grpc,
    schema_service_pb2_grpc,
    tenant_service_pb2_grpc,
)
from tenant.servicer.audit import AuditServicer
from tenant.servicer.connections import ConnectionServicer
from tenant.servicer.schema import SchemaServicer
from tenant.servicer.tenants import TenantServicer

if TYPE_CHECKING:
    from interceptor.server import Binding
    from tenant.app.service import Service

_PUBLICATION_BYTES = 16 << 20


def bindings(service: Service) -> list[Binding]:
    """Tie the servicers to their contracts."""
    management, stores = service.management, service.stores
    tenants = TenantServicer(service.tenants, service.directory, management, stores.tenants)
    schema = SchemaServicer(service.schema, management, stores.schema_states)
    audit = AuditServicer(management, service.tenant_pools, stores.audit_logs)
    return [
        bind(
            tenant_service_pb2_grpc.add_TenantServiceServicer_to_server,
            tenants,
            "nagaya.tenant.v1.TenantService",
        ),
        bind(
            connection_service_pb2_grpc.add_ConnectionServiceServicer_to_server,
            ConnectionServicer(service.connections),
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
    ]
