"""The gRPC methods of RunService."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nagaya.runs.v1 import run_service_pb2 as pb
from nagaya.runs.v1 import run_service_pb2_grpc
from runs.domain.events import Heartbeat
from runs.errors import RunNotFound
from runs.store import runs, steps
from runs.wire import runs as wire
from runs.wire.steps import run_step

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from dataplane.tenants import TenantPools
    from interceptor.server import Context
    from runs.api.app.runs import Runs
    from runs.api.watch import RunWatcher


class RunServicer(run_service_pb2_grpc.RunServiceServicer):
    """Unpacks requests, calls the app, a store or the watcher, packs responses."""

    def __init__(self, app: Runs, tenants: TenantPools, watcher: RunWatcher) -> None:
        self._app = app
        self._tenants = tenants
        self._watcher = watcher

    async def CreateRun(
        self, request: pb.CreateRunRequest, context: Context
    ) -> pb.CreateRunResponse:
        run = await self._app.create(request.tenant_id, wire.run_draft(request))
        return pb.CreateRunResponse(run=wire.run(run))

    async def StartRun(self, request: pb.StartRunRequest, context: Context) -> pb.StartRunResponse:
        run = await self._app.start(request.tenant_id, request.run_id)
        return pb.StartRunResponse(run=wire.run(run))

    async def GetRun(self, request: pb.GetRunRequest, context: Context) -> pb.GetRunResponse:
        async with self._tenants.connection(request.tenant_id) as connection:
            run = await runs.find(connection, request.run_id)
        if run is None:
            raise RunNotFound(request.run_id)
        return pb.GetRunResponse(run=wire.run(run))

    async def ListRuns(self, request: pb.ListRunsRequest, context: Context) -> pb.ListRunsResponse:
        status = wire.run_status(request.state) or ""
        async with self._tenants.connection(request.tenant_id) as connection:
            page = await runs.page(
                connection, request.pipeline, status, request.page_size, request.page_token
            )
        return pb.ListRunsResponse(runs=map(wire.run, page.items), next_page_token=page.next_token)

    async def ListRunSteps(
        self, request: pb.ListRunStepsRequest, context: Context
    ) -> pb.ListRunStepsResponse:
        async with self._tenants.connection(request.tenant_id) as connection:
            page = await steps.page(
                connection, request.run_id, request.page_size, request.page_token
            )
        if page is None:
            raise RunNotFound(request.run_id)
        return pb.ListRunStepsResponse(
            run_steps=map(run_step, page.items), next_page_token=page.next_token
        )

    async def WatchRun(
        self, request: pb.WatchRunRequest, context: Context
    ) -> AsyncGenerator[pb.WatchRunResponse]:
        watch = self._watcher.watch(request.tenant_id, request.run_id, request.after_sequence)
        async for part in watch:
            if isinstance(part, Heartbeat):
                yield pb.WatchRunResponse(heartbeat_sequence=part.sequence)
            else:
                yield pb.WatchRunResponse(event=wire.run_event(part))

    async def CancelRun(
        self, request: pb.CancelRunRequest, context: Context
    ) -> pb.CancelRunResponse:
        run = await self._app.cancel(request.tenant_id, request.run_id)
        return pb.CancelRunResponse(run=wire.run(run))
