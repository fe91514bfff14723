"""The gRPC methods of TenantLimitService."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nagaya.runs.v1 import tenant_limit_service_pb2 as pb
from nagaya.runs.v1 import tenant_limit_service_pb2_grpc
from runs.domain.tenant_limits import RunBound, TenantLimits
from runs.store import tenant_limits

if TYPE_CHECKING:
    from dataplane.tenants import ManagementPool
    from interceptor.server import Context
    from runs.api.app.tenant_limits import TenantLimitChanges
    from runs.domain.tenant_limits import LimitsOf, TaskQueueShare

_BOUNDS = {
    RunBound.WORKERS: pb.RUN_BOUND_WORKERS,
    RunBound.MAX_RUNS: pb.RUN_BOUND_MAX_RUNS,
    RunBound.OTHER_TENANTS: pb.RUN_BOUND_OTHER_TENANTS,
}


class TenantLimitServicer(tenant_limit_service_pb2_grpc.TenantLimitServiceServicer):
    """Unpacks requests, calls the app or a store, packs responses."""

    def __init__(
        self, app: TenantLimitChanges, management: ManagementPool, limits: LimitsOf
    ) -> None:
        self._app = app
        self._management = management
        self._limits = limits

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
        shares = map(_share, self._limits(request.tenant_id).shares())
        return pb.GetTenantLimitsResponse(
            limits=_message(found), now=pb.TenantShare(task_queues=shares)
        )


def _message(limits: TenantLimits) -> pb.TenantLimits:
    return pb.TenantLimits(
        weight=limits.weight,
        max_steps=limits.max_steps,
        starts_per_minute=limits.starts_per_minute,
        max_runs=limits.max_runs,
    )


def _share(share: TaskQueueShare) -> pb.TaskQueueShare:
    return pb.TaskQueueShare(
        task_queue=share.task_queue,
        runs_at_once=share.runs_at_once,
        run_bound=_BOUNDS[share.bound],
        other_tenant_count=share.other_tenants,
        worker_steps=share.worker_steps,
        max_steps=share.most_steps,
    )
