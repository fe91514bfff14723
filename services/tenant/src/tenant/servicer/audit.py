"""The gRPC methods of AuditService."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nagaya.tenant.v1 import audit_service_pb2 as pb
from nagaya.tenant.v1 import audit_service_pb2_grpc
from tenant import wire
from tenant.store import audit_logs

if TYPE_CHECKING:
    from dataplane.tenants import ManagementPool, TenantPools
    from interceptor.server import Context
    from tenant.app.audit import AuditVerification


class AuditServicer(audit_service_pb2_grpc.AuditServiceServicer):
    """Lists and verifies the audit log of a tenant, or of the management database."""

    def __init__(
        self, management: ManagementPool, tenants: TenantPools, verification: AuditVerification
    ) -> None:
        self._management = management
        self._verification = verification
        self._tenants = tenants

    async def ListAuditLogs(
        self, request: pb.ListAuditLogsRequest, context: Context
    ) -> pb.ListAuditLogsResponse:
        tenant_id = request.tenant_id
        lease = self._tenants.connection(tenant_id) if tenant_id else self._management.connection()
        async with lease as connection:
            if not request.page_token:
                await audit_logs.chain(connection)
            page = await audit_logs.page(connection, request.page_size, request.page_token)
        return pb.ListAuditLogsResponse(
            audit_logs=map(wire.audit_log, page.items), next_page_token=page.next_token
        )

    async def VerifyAuditLog(
        self, request: pb.VerifyAuditLogRequest, context: Context
    ) -> pb.VerifyAuditLogResponse:
        known = wire.known_entry(request)
        return wire.verification(await self._verification.verify(request.tenant_id, known))
