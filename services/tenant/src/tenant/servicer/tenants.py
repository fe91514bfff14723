"""The gRPC methods of TenantService."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nagaya.tenant.v1 import tenant_service_pb2 as pb
from nagaya.tenant.v1 import tenant_service_pb2_grpc
from servicekit.call import current_principal
from tenant import wire
from tenant.app.watch_cache import (
    ManagementLoginsChanged,
    TenantChanged,
    TenantRemoved,
)
from tenant.errors import TenantNotFound
from tenant.errors.deletion import CertificateNotFound
from tenant.servicer.callers import covered_tenants, may_watch
from tenant.store import deletion_certificates, tenants
from tenant.wire import operations as operation_wire
from tenant.wire import repair as repair_wire

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from dataplane.tenants import ManagementPool
    from interceptor.server import Context
    from tenant.app.deletion import TenantDeletion
    from tenant.app.moves import Moves
    from tenant.app.repair import TenantRepair
    from tenant.app.tenants import Tenants
    from tenant.app.watch_cache import Event, WatchCache


class TenantServicer(tenant_service_pb2_grpc.TenantServiceServicer):
    """Creates, finds, lists, changes, deletes and watches tenants."""

    def __init__(
        self,
        tenants: Tenants,
        moves: Moves,
        deletion: TenantDeletion,
        repair: TenantRepair,
        watch_cache: WatchCache,
        management: ManagementPool,
    ) -> None:
        self._tenants = tenants
        self._moves = moves
        self._deletion = deletion
        self._repair = repair
        self._watch_cache = watch_cache
        self._management = management

    async def CreateTenant(
        self, request: pb.CreateTenantRequest, context: Context
    ) -> pb.CreateTenantResponse:
        tenant = await self._tenants.create(
            request.tenant_id, request.request_id, request.name, dict(request.server_labels)
        )
        return pb.CreateTenantResponse(tenant=wire.tenant(tenant))

    async def GetTenant(
        self, request: pb.GetTenantRequest, context: Context
    ) -> pb.GetTenantResponse:
        async with self._management.connection() as connection:
            tenant = await tenants.find(connection, request.tenant_id)
        if tenant is None:
            raise TenantNotFound(request.tenant_id)
        return pb.GetTenantResponse(tenant=wire.tenant(tenant))

    async def ListTenants(
        self, request: pb.ListTenantsRequest, context: Context
    ) -> pb.ListTenantsResponse:
        covered = covered_tenants(current_principal())
        async with self._management.connection() as connection:
            page = await tenants.page(connection, covered, request.page_size, request.page_token)
        return pb.ListTenantsResponse(
            tenants=map(wire.tenant, page.items), next_page_token=page.next_token
        )

    async def SuspendTenant(
        self, request: pb.SuspendTenantRequest, context: Context
    ) -> pb.SuspendTenantResponse:
        tenant = await self._tenants.suspend(request.tenant_id)
        return pb.SuspendTenantResponse(tenant=wire.tenant(tenant))

    async def ResumeTenant(
        self, request: pb.ResumeTenantRequest, context: Context
    ) -> pb.ResumeTenantResponse:
        tenant = await self._tenants.resume(request.tenant_id)
        return pb.ResumeTenantResponse(tenant=wire.tenant(tenant))

    async def UpdateTenant(
        self, request: pb.UpdateTenantRequest, context: Context
    ) -> pb.UpdateTenantResponse:
        tenant = await self._tenants.rename(request.tenant_id, request.name)
        return pb.UpdateTenantResponse(tenant=wire.tenant(tenant))

    async def DeleteTenant(
        self, request: pb.DeleteTenantRequest, context: Context
    ) -> pb.DeleteTenantResponse:
        given = request.HasField("retention")
        retention = request.retention.ToTimedelta() if given else None
        tenant = await self._deletion.delete(request.tenant_id, retention)
        return pb.DeleteTenantResponse(tenant=wire.tenant(tenant))

    async def UndeleteTenant(
        self, request: pb.UndeleteTenantRequest, context: Context
    ) -> pb.UndeleteTenantResponse:
        tenant = await self._deletion.undelete(request.tenant_id)
        return pb.UndeleteTenantResponse(tenant=wire.tenant(tenant))

    async def PurgeTenant(
        self, request: pb.PurgeTenantRequest, context: Context
    ) -> pb.PurgeTenantResponse:
        operation = await self._deletion.purge(request.tenant_id, request.request_id)
        return pb.PurgeTenantResponse(operation=operation_wire.operation(operation))

    async def GetDeletionCertificate(
        self, request: pb.GetDeletionCertificateRequest, context: Context
    ) -> pb.GetDeletionCertificateResponse:
        async with self._management.connection() as connection:
            found = await deletion_certificates.newest(connection, request.tenant_id)
        if found is None:
            raise CertificateNotFound(request.tenant_id)
        return pb.GetDeletionCertificateResponse(certificate=found)

    async def RepairTenants(
        self, request: pb.RepairTenantsRequest, context: Context
    ) -> pb.RepairTenantsResponse:
        found, unchecked = await self._repair.run(set(request.remove), dry_run=request.dry_run)
        return pb.RepairTenantsResponse(
            findings=map(repair_wire.finding, found), unchecked=unchecked
        )

    async def MoveTenant(
        self, request: pb.MoveTenantRequest, context: Context
    ) -> pb.MoveTenantResponse:
        operation = await self._moves.begin(
            request.tenant_id, request.server_id, request.request_id
        )
        return pb.MoveTenantResponse(operation=operation_wire.operation(operation))

    async def WatchTenants(
        self, request: pb.WatchTenantsRequest, context: Context
    ) -> AsyncGenerator[pb.WatchTenantsResponse]:
        principal = current_principal()
        async for event in self._watch_cache.watch(
            lambda tenant_id: may_watch(principal, tenant_id)
        ):
            yield _watched(event)


def _watched(event: Event) -> pb.WatchTenantsResponse:
    match event:
        case TenantChanged(tenant):
            return pb.WatchTenantsResponse(tenant=wire.tenant(tenant))
        case TenantRemoved(tenant_id):
            return pb.WatchTenantsResponse(removed_tenant_id=tenant_id)
        case ManagementLoginsChanged():
            return pb.WatchTenantsResponse(management_logins_changed=True)
        case _:
            return pb.WatchTenantsResponse(synced=True)
