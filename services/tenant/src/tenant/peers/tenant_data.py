"""Calls of TenantDataService: what artifacts, llm-gateway and runs keep of tenants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nagaya.tenant_data.v1 import tenant_data_service_pb2 as pb
from nagaya.tenant_data.v1 import tenant_data_service_pb2_grpc
from servicekit.call import on_behalf_of
from tenant.domain.deletion import StoreContents
from tenant.errors.deletion import PeerUnknown

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    import grpc


class TenantDataPeers:
    """The services that keep something of tenants, by name. Methods raise PeerUnknown."""

    def __init__(self, channels: Mapping[str, grpc.aio.Channel]) -> None:
        self._channels = channels
        stub = tenant_data_service_pb2_grpc.TenantDataServiceStub
        self._stubs = {service: stub(channel) for service, channel in channels.items()}

    def knows(self, service: str) -> bool:
        """Return whether the address of a service is known."""
        return service in self._stubs

    async def inspect(self, service: str, tenant_id: str) -> list[StoreContents]:
        """Return what there is of a tenant in each store of a service."""
        request = pb.InspectTenantDataRequest(tenant_id=tenant_id)
        with on_behalf_of(tenant_id):
            response = await self._stub(service).InspectTenantData(request)
        return [
            StoreContents(found.store, found.method, found.found, tuple(found.unproven))
            for found in response.stores
        ]

    async def purge(self, service: str, tenant_id: str) -> AsyncGenerator[tuple[str, int]]:
        """Remove all of it; yield a store, and how many things are removed there."""
        request = pb.PurgeTenantDataRequest(tenant_id=tenant_id)
        with on_behalf_of(tenant_id):
            responses = self._stub(service).PurgeTenantData(request)
        async for response in responses:
            yield response.store, response.removed

    async def schedule(self, tenant_id: str) -> None:
        """Have services do the background work that rows of an active tenant ask for."""
        request = pb.ScheduleTenantDataRequest(tenant_id=tenant_id)
        for stub in self._stubs.values():
            with on_behalf_of(tenant_id):
                await stub.ScheduleTenantData(request)

    async def tenant_ids(self, service: str) -> dict[str, set[str]]:
        """Return the ids of the tenants of which there is anything, by store."""
        found: dict[str, set[str]] = {}
        with on_behalf_of():
            responses = self._stub(service).ListTenantData(pb.ListTenantDataRequest())
        async for response in responses:
            found.setdefault(response.store, set()).update(response.tenant_ids)
        return found

    async def close(self) -> None:
        """Close the channels."""
        for channel in self._channels.values():
            await channel.close()

    def _stub(self, service: str) -> tenant_data_service_pb2_grpc.TenantDataServiceStub:
        found = self._stubs.get(service)
        if found is None:
            raise PeerUnknown(service)
        return found
