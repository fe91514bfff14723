"""The gRPC methods of AuditService."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nagaya.tenant.v1 import audit_service_pb2 as pb
from nagaya.tenant.v1 import audit_service_pb2_grpc
from tenant import wire
from tenant.store import audit_logs

if TYPE_CHECKING:
    from dataplane.connection_lease import ConnectionLease
    from dataplane.tenants import ManagementPool, TenantPools
    from interceptor.server import Context
    from tenant.app.audit import AuditVerification
    from tenant.app.audit_anchors import AuditAnchors


class AuditServicer(audit_service_pb2_grpc.AuditServiceServicer):
    """Lists and verifies the audit log of a tenant, or of the management database."""

    def __init__(
        self,
        management: ManagementPool,
        tenants: TenantPools,
        verification: AuditVerification,
        anchors: AuditAnchors,
    ) -> None:
        self._management = management
        self._verification = verification
        self._tenants = tenants
        self._anchors = anchors

    async def ListAuditLogs(
        self, request: pb.ListAuditLogsRequest, context: Context
    ) -> pb.ListAuditLogsResponse:
        in_order = audit_logs.page_for_verification
        page_of = in_order if request.for_verification else audit_logs.page
        async with self._connection(request.tenant_id) as connection:
            if not request.page_token:
                await audit_logs.chain(connection)
            page = await page_of(connection, request.page_size, request.page_token)
            head = await audit_logs.head(connection)
        return wire.audit_log_page(page, head)

    async def ListAuditAnchors(
        self, request: pb.ListAuditAnchorsRequest, context: Context
    ) -> pb.ListAuditAnchorsResponse:
        page = await self._anchors.page(request.tenant_id, request.page_size, request.page_token)
        return wire.audit_anchor_page(page)

    async def VerifyAuditLog(
        self, request: pb.VerifyAuditLogRequest, context: Context
    ) -> pb.VerifyAuditLogResponse:
        known = wire.known_entry(request)
        return wire.verification(await self._verification.verify(request.tenant_id, known))

    def _connection(self, tenant_id: str) -> ConnectionLease:
        return self._tenants.connection(tenant_id) if tenant_id else self._management.connection()
