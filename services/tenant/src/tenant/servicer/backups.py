"""The gRPC methods of BackupService."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nagaya.tenant.v1 import backup_service_pb2 as pb
from nagaya.tenant.v1 import backup_service_pb2_grpc
from tenant.errors.backups import BackupNotFound
from tenant.store import backup_schedules, backups
from tenant.wire import backups as wire
from tenant.wire import operations as operation_wire

if TYPE_CHECKING:
    from dataplane.tenants import ManagementPool
    from interceptor.server import Context
    from tenant.app.backup_deletion import BackupDeletion
    from tenant.app.backup_schedules import BackupSchedules
    from tenant.app.backups import Backups


class BackupServicer(backup_service_pb2_grpc.BackupServiceServicer):
    """Makes, lists, deletes, verifies and restores backups, clones tenants, sets schedules."""

    def __init__(
        self,
        made: Backups,
        deletion: BackupDeletion,
        schedules: BackupSchedules,
        management: ManagementPool,
    ) -> None:
        self._backups = made
        self._deletion = deletion
        self._schedules = schedules
        self._management = management

    async def CreateBackup(
        self, request: pb.CreateBackupRequest, context: Context
    ) -> pb.CreateBackupResponse:
        backup, operation = await self._backups.create(
            request.tenant_id, request.request_id, wire.keep_for(request)
        )
        return pb.CreateBackupResponse(
            backup=None if backup is None else wire.backup(backup),
            operation=operation_wire.operation(operation),
        )

    async def GetBackup(
        self, request: pb.GetBackupRequest, context: Context
    ) -> pb.GetBackupResponse:
        async with self._management.connection() as connection:
            backup = await backups.find(connection, request.tenant_id, request.backup_id)
        if backup is None:
            raise BackupNotFound(request.backup_id)
        return pb.GetBackupResponse(backup=wire.backup(backup))

    async def ListBackups(
        self, request: pb.ListBackupsRequest, context: Context
    ) -> pb.ListBackupsResponse:
        async with self._management.connection() as connection:
            page = await backups.page(
                connection, request.tenant_id, request.page_size, request.page_token
            )
        return pb.ListBackupsResponse(
            backups=map(wire.backup, page.items), next_page_token=page.next_token
        )

    async def DeleteBackup(
        self, request: pb.DeleteBackupRequest, context: Context
    ) -> pb.DeleteBackupResponse:
        await self._deletion.delete_one(request.tenant_id, request.backup_id)
        return pb.DeleteBackupResponse()

    async def VerifyBackup(
        self, request: pb.VerifyBackupRequest, context: Context
    ) -> pb.VerifyBackupResponse:
        operation = await self._backups.verify(
            request.tenant_id, request.backup_id, request.request_id
        )
        return pb.VerifyBackupResponse(operation=operation_wire.operation(operation))

    async def RestoreBackup(
        self, request: pb.RestoreBackupRequest, context: Context
    ) -> pb.RestoreBackupResponse:
        operation = await self._backups.restore(
            request.tenant_id,
            request.backup_id,
            request.request_id,
            wire.new_tenant(request),
        )
        return pb.RestoreBackupResponse(operation=operation_wire.operation(operation))

    async def CloneTenant(
        self, request: pb.CloneTenantRequest, context: Context
    ) -> pb.CloneTenantResponse:
        operation = await self._backups.clone(
            request.tenant_id, request.request_id, wire.new_tenant(request)
        )
        return pb.CloneTenantResponse(operation=operation_wire.operation(operation))

    async def SetBackupSchedule(
        self, request: pb.SetBackupScheduleRequest, context: Context
    ) -> pb.SetBackupScheduleResponse:
        schedule = await self._schedules.set(
            request.tenant_id,
            request.interval.ToTimedelta(),
            request.keep_count or 1,
            request.keep_for.ToTimedelta(),
            verify=request.verify,
        )
        return pb.SetBackupScheduleResponse(schedule=wire.schedule(schedule))

    async def GetBackupSchedule(
        self, request: pb.GetBackupScheduleRequest, context: Context
    ) -> pb.GetBackupScheduleResponse:
        async with self._management.connection() as connection:
            schedule = await backup_schedules.find(connection, request.tenant_id)
        found = None if schedule is None else wire.schedule(schedule)
        return pb.GetBackupScheduleResponse(schedule=found)

    async def DeleteBackupSchedule(
        self, request: pb.DeleteBackupScheduleRequest, context: Context
    ) -> pb.DeleteBackupScheduleResponse:
        await self._schedules.delete(request.tenant_id)
        return pb.DeleteBackupScheduleResponse()
