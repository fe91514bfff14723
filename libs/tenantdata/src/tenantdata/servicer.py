"""The gRPC methods of TenantDataService.

The tenant need not exist, nor its database accept connections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from nagaya.tenant_data.v1 import tenant_data_service_pb2 as pb
from nagaya.tenant_data.v1 import tenant_data_service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    import grpc

    from dataplane.pending_work_scheduler import PendingWorkScheduler
    from tenantdata.stores import TenantStore

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_IDS_AT_ONCE = 1000


class TenantDataServicer(tenant_data_service_pb2_grpc.TenantDataServiceServicer):
    """Shows and removes what the stores of a service hold of a tenant."""

    def __init__(
        self, stores: Sequence[TenantStore], schedulers: Sequence[PendingWorkScheduler]
    ) -> None:
        self._stores = stores
        self._schedulers = schedulers

    async def InspectTenantData(
        self, request: pb.InspectTenantDataRequest, context: Context
    ) -> pb.InspectTenantDataResponse:
        tenant_id = request.tenant_id
        return pb.InspectTenantDataResponse(
            stores=[await _contents(store, tenant_id) for store in self._stores]
        )

    async def PurgeTenantData(
        self, request: pb.PurgeTenantDataRequest, context: Context
    ) -> AsyncGenerator[pb.PurgeTenantDataResponse]:
        for store in self._stores:
            yield pb.PurgeTenantDataResponse(store=store.name)
            async for removed in store.remove(request.tenant_id):
                yield pb.PurgeTenantDataResponse(store=store.name, removed=removed)

    async def ListTenantData(
        self, request: pb.ListTenantDataRequest, context: Context
    ) -> AsyncGenerator[pb.ListTenantDataResponse]:
        for store in self._stores:
            found: list[str] = []
            async for tenant_id in store.tenant_ids():
                found.append(tenant_id)
                if len(found) == _IDS_AT_ONCE:
                    yield pb.ListTenantDataResponse(store=store.name, tenant_ids=found)
                    found = []
            yield pb.ListTenantDataResponse(store=store.name, tenant_ids=found)

    async def ScheduleTenantData(
        self, request: pb.ScheduleTenantDataRequest, context: Context
    ) -> pb.ScheduleTenantDataResponse:
        for scheduler in self._schedulers:
            await scheduler.schedule(request.tenant_id)
        return pb.ScheduleTenantDataResponse()


async def _contents(store: TenantStore, tenant_id: str) -> pb.StoreContents:
    return pb.StoreContents(
        store=store.name,
        found=await store.count(tenant_id),
        method=store.method,
        unproven=await store.unproven(tenant_id),
    )
