"""The gRPC methods of TenantLimitService."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nagaya.runs.v1 import tenant_limit_service_pb2 as pb
from nagaya.runs.v1 import tenant_limit_service_pb2_grpc
from runs.domain.tenant_limits import TenantLimits
from runs.store import tenant_limits

if TYPE_CHECKING:
    from dataplane.tenants import ManagementPool
    from interceptor.server import Context
    from runs.api.app.tenant_limits import TenantLimitChanges


class TenantLimitServicer(tenant_limit_service_pb2_grpc.TenantLimitServiceServicer):
    """Unpacks requests, calls the app or a store, packs responses."""

    def __init__(self, app: TenantLimitChanges, management: ManagementPool) -> None:
        self._app = app
        self._management = management

    async def SetTenantLimits(
        self, request: pb.SetTenantLimitsRequest, context: Context
    ) -> pb.SetTenantLimitsResponse:
        given = request.limits
        limits = TenantLimits(
            given.weight or 1.0, given.max_steps, given.starts_per_minute, given.max_runs
        )
        await self._app.put(request.tenant_id, limits)
        return pb.SetTenantLimitsResponse(limits=_message(limits))

    async def GetTenantLimits(
        self, request: pb.GetTenantLimitsRequest, context: Context
    ) -> pb.GetTenantLimitsResponse:
        async with self._management.connection() as connection:
            found = await tenant_limits.find(connection, request.tenant_id)
        return pb.GetTenantLimitsResponse(limits=_message(found))


def _message(limits: TenantLimits) -> pb.TenantLimits:
    return pb.TenantLimits(
        weight=limits.weight,
        max_steps=limits.max_steps,
        starts_per_minute=limits.starts_per_minute,
        max_runs=limits.max_runs,
    )
