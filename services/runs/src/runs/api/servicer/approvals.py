"""The gRPC methods of ApprovalService."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nagaya.runs.v1 import approval_service_pb2 as pb
from nagaya.runs.v1 import approval_service_pb2_grpc
from runs.errors.approvals import ApprovalNotFound
from runs.store import approvals
from runs.wire import approvals as wire
from servicekit.call import current_principal

if TYPE_CHECKING:
    from dataplane.tenants import TenantPools
    from interceptor.server import Context
    from runs.api.app.approvals import Approvals


class ApprovalServicer(approval_service_pb2_grpc.ApprovalServiceServicer):
    """Unpacks requests, calls the app or a store, packs responses."""

    def __init__(self, app: Approvals, tenants: TenantPools) -> None:
        self._app = app
        self._tenants = tenants

    async def GetApproval(
        self, request: pb.GetApprovalRequest, context: Context
    ) -> pb.GetApprovalResponse:
        async with self._tenants.connection(request.tenant_id) as connection:
            approval = await approvals.find(connection, request.approval_id)
        if approval is None:
            raise ApprovalNotFound(request.approval_id)
        return pb.GetApprovalResponse(approval=wire.approval(approval))

    async def ListApprovals(
        self, request: pb.ListApprovalsRequest, context: Context
    ) -> pb.ListApprovalsResponse:
        filters = (wire.approval_state(request.state) or "", request.run_id)
        decider = current_principal() if request.mine else None
        async with self._tenants.connection(request.tenant_id) as connection:
            page = await approvals.page(
                connection, filters, decider, request.page_size, request.page_token
            )
        found = map(wire.approval, page.items)
        return pb.ListApprovalsResponse(approvals=found, next_page_token=page.next_token)

    async def DecideApproval(
        self, request: pb.DecideApprovalRequest, context: Context
    ) -> pb.DecideApprovalResponse:
        approval = await self._app.decide(request.tenant_id, wire.decision(request))
        return pb.DecideApprovalResponse(approval=wire.approval(approval))
