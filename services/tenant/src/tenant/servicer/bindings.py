"""The gRPC services that the process serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.server import MEBIBYTE, bind
from nagaya.tenant.v1 import (
    audit_service_pb2_grpc,
    backup_service_pb2_grpc,
    connection_service_pb2_grpc,
    operation_service_pb2_grpc,
    schema_service_pb2_grpc,
    secret_service_pb2_grpc,
    server_service_pb2_grpc,
    tenant_service_pb2_grpc,
    transfer_service_pb2_grpc,
)

if TYPE_CHECKING:
    from interceptor.server import Binding
    from tenant.servicer.audit import AuditServicer
    from tenant.servicer.backups import BackupServicer
    from tenant.servicer.connections import ConnectionServicer
    from tenant.servicer.operations import OperationServicer
    from tenant.servicer.schema import SchemaServicer
    from tenant.servicer.secrets import SecretServicer
    from tenant.servicer.servers import ServerServicer
    from tenant.servicer.tenants import TenantServicer
    from tenant.servicer.transfers import TransferServicer

_add_transfers = transfer_service_pb2_grpc.add_TransferServiceServicer_to_server
_REQUEST_BYTES = {
    "SchemaService": 16 << 20,
    "TransferService": 2 << 20,  # a MiB of a bundle, and what is around it
}


def bindings(
    tenants: TenantServicer,
    connections: ConnectionServicer,
    schema: SchemaServicer,
    audit: AuditServicer,
    operations: OperationServicer,
    backups: BackupServicer,
    servers: ServerServicer,
    secrets: SecretServicer,
    transfers: TransferServicer,
) -> list[Binding]:
    """Bind the servicers to the services of the contract."""
    servicers = {
        "TenantService": (tenant_service_pb2_grpc.add_TenantServiceServicer_to_server, tenants),
        "ConnectionService": (
            connection_service_pb2_grpc.add_ConnectionServiceServicer_to_server,
            connections,
        ),
        "SchemaService": (schema_service_pb2_grpc.add_SchemaServiceServicer_to_server, schema),
        "AuditService": (audit_service_pb2_grpc.add_AuditServiceServicer_to_server, audit),
        "OperationService": (
            operation_service_pb2_grpc.add_OperationServiceServicer_to_server,
            operations,
        ),
        "ServerService": (server_service_pb2_grpc.add_ServerServiceServicer_to_server, servers),
        "BackupService": (backup_service_pb2_grpc.add_BackupServiceServicer_to_server, backups),
        "SecretService": (secret_service_pb2_grpc.add_SecretServiceServicer_to_server, secrets),
        "TransferService": (_add_transfers, transfers),
    }
    return [
        bind(
            add_to_server,
            servicer,
            f"nagaya.tenant.v1.{name}",
            max_request_bytes=_REQUEST_BYTES.get(name, MEBIBYTE),
        )
        for name, (add_to_server, servicer) in servicers.items()
    ]
