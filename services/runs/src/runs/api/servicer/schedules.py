"""The gRPC methods of ScheduleService."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nagaya.runs.v1 import schedule_service_pb2 as pb
from nagaya.runs.v1 import schedule_service_pb2_grpc
from runs.errors.schedules import ScheduleNotFound
from runs.store import schedules as store
from runs.wire import schedules as wire
from runs.wire.runs import run

if TYPE_CHECKING:
    from dataplane.tenants import TenantPools
    from interceptor.server import Context
    from runs.api.app.schedules import Schedules


class ScheduleServicer(schedule_service_pb2_grpc.ScheduleServiceServicer):
    """Unpacks requests, calls the app or a store, packs responses."""

    def __init__(self, app: Schedules, tenants: TenantPools) -> None:
        self._app = app
        self._tenants = tenants

    async def CreateSchedule(
        self, request: pb.CreateScheduleRequest, context: Context
    ) -> pb.CreateScheduleResponse:
        spec = wire.schedule_spec(request.spec)
        created = await self._app.create(
            request.tenant_id, request.request_id, request.schedule, spec, paused=request.paused
        )
        return pb.CreateScheduleResponse(schedule=wire.schedule(created))

    async def GetSchedule(
        self, request: pb.GetScheduleRequest, context: Context
    ) -> pb.GetScheduleResponse:
        async with self._tenants.connection(request.tenant_id) as connection:
            found = await store.find(connection, request.schedule)
        if found is None:
            raise ScheduleNotFound(request.schedule)
        return pb.GetScheduleResponse(schedule=wire.schedule(found))

    async def ListSchedules(
        self, request: pb.ListSchedulesRequest, context: Context
    ) -> pb.ListSchedulesResponse:
        async with self._tenants.connection(request.tenant_id) as connection:
            page = await store.page(connection, request.page_size, request.page_token)
        return pb.ListSchedulesResponse(
            schedules=map(wire.schedule, page.items), next_page_token=page.next_token
        )

    async def UpdateSchedule(
        self, request: pb.UpdateScheduleRequest, context: Context
    ) -> pb.UpdateScheduleResponse:
        spec = wire.schedule_spec(request.spec)
        changed = await self._app.update(request.tenant_id, request.schedule, spec)
        return pb.UpdateScheduleResponse(schedule=wire.schedule(changed))

    async def PauseSchedule(
        self, request: pb.PauseScheduleRequest, context: Context
    ) -> pb.PauseScheduleResponse:
        paused = await self._app.pause(request.tenant_id, request.schedule, request.reason)
        return pb.PauseScheduleResponse(schedule=wire.schedule(paused))

    async def ResumeSchedule(
        self, request: pb.ResumeScheduleRequest, context: Context
    ) -> pb.ResumeScheduleResponse:
        resumed = await self._app.resume(request.tenant_id, request.schedule)
        return pb.ResumeScheduleResponse(schedule=wire.schedule(resumed))

    async def TriggerSchedule(
        self, request: pb.TriggerScheduleRequest, context: Context
    ) -> pb.TriggerScheduleResponse:
        created = await self._app.trigger(request.tenant_id, request.schedule, request.request_id)
        return pb.TriggerScheduleResponse(run=run(created))

    async def BackfillSchedule(
        self, request: pb.BackfillScheduleRequest, context: Context
    ) -> pb.BackfillScheduleResponse:
        start, end = wire.moment(request.start_time), wire.moment(request.end_time)
        count = await self._app.backfill(
            request.tenant_id, request.schedule, request.request_id, start, end
        )
        return pb.BackfillScheduleResponse(time_count=count)

    async def DeleteSchedule(
        self, request: pb.DeleteScheduleRequest, context: Context
    ) -> pb.DeleteScheduleResponse:
        await self._app.delete(request.tenant_id, request.schedule)
        return pb.DeleteScheduleResponse()
