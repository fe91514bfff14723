"""The gRPC methods of RunService."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nagaya.runs.v1 import run_service_pb2 as pb
from nagaya.runs.v1 import run_service_pb2_grpc
from runs.domain.events import Heartbeat
from runs.errors import RunNotFound
from runs.store import runs, steps, timeline
from runs.wire import runs as wire
from runs.wire.steps import run_step, step_status, step_timeline

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from dataplane.tenants import TenantPools
    from interceptor.server import Context
    from runs.api.app.bulk_runs import BulkRuns
    from runs.api.app.forks import Forks
    from runs.api.app.run_steering import RunSteering
    from runs.api.app.runs import Runs
    from runs.api.step_text import StepTextWatcher
    from runs.api.watch import RunWatcher


class RunServicer(run_service_pb2_grpc.RunServiceServicer):
    """Unpacks requests, calls the app, a store or the watcher, packs responses."""

    def __init__(
        self,
        app: Runs,
        forks: Forks,
        steering: RunSteering,
        bulk: BulkRuns,
        tenants: TenantPools,
        watcher: RunWatcher,
        texts: StepTextWatcher,
    ) -> None:
        self._app = app
        self._forks = forks
        self._steering = steering
        self._bulk = bulk
        self._tenants = tenants
        self._watcher = watcher
        self._texts = texts

    async def CreateRun(
        self, request: pb.CreateRunRequest, context: Context
    ) -> pb.CreateRunResponse:
        run = await self._app.create(request.tenant_id, wire.run_draft(request))
        return pb.CreateRunResponse(run=wire.run(run))

    async def StartRun(self, request: pb.StartRunRequest, context: Context) -> pb.StartRunResponse:
        run = await self._app.start(request.tenant_id, request.run_id)
        return pb.StartRunResponse(run=wire.run(run))

    async def ForkRun(self, request: pb.ForkRunRequest, context: Context) -> pb.ForkRunResponse:
        run = await self._forks.fork(request.tenant_id, wire.fork_draft(request))
        return pb.ForkRunResponse(run=wire.run(run))

    async def GetRun(self, request: pb.GetRunRequest, context: Context) -> pb.GetRunResponse:
        async with self._tenants.connection(request.tenant_id) as connection:
            run = await runs.find(connection, request.run_id)
        if run is None:
            raise RunNotFound(request.run_id)
        return pb.GetRunResponse(run=wire.run(run))

    async def ListRuns(self, request: pb.ListRunsRequest, context: Context) -> pb.ListRunsResponse:
        wanted = wire.listed(request)
        async with self._tenants.connection(request.tenant_id) as connection:
            page = await runs.page(connection, wanted, request.page_size, request.page_token)
        return pb.ListRunsResponse(runs=map(wire.run, page.items), next_page_token=page.next_token)

    async def ListRunSteps(
        self, request: pb.ListRunStepsRequest, context: Context
    ) -> pb.ListRunStepsResponse:
        status = step_status(request.state) or ""
        place, page_from = (status, request.step), (request.page_size, request.page_token)
        async with self._tenants.connection(request.tenant_id) as connection:
            page = await steps.page(connection, request.run_id, *place, *page_from)
        if page is None:
            raise RunNotFound(request.run_id)
        return pb.ListRunStepsResponse(
            run_steps=map(run_step, page.items), next_page_token=page.next_token
        )

    async def GetRunTimeline(
        self, request: pb.GetRunTimelineRequest, context: Context
    ) -> pb.GetRunTimelineResponse:
        run_id, first = request.run_id, not request.page_token
        async with self._tenants.connection(request.tenant_id) as connection:
            page = await timeline.page(connection, run_id, request.page_size, request.page_token)
            phases = await timeline.run_phases(connection, run_id) if first else ()
        if page is None:
            raise RunNotFound(run_id)
        steps, more = map(step_timeline, page.items), page.next_token
        passed = map(wire.run_phase, phases)
        return pb.GetRunTimelineResponse(steps=steps, next_page_token=more, phases=passed)

    async def WatchStepText(
        self, request: pb.WatchStepTextRequest, context: Context
    ) -> AsyncGenerator[pb.WatchStepTextResponse]:
        async for part in self._texts.watch(*wire.watched_text(request)):
            yield wire.text_part(part)

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
        run = await self._steering.cancel(request.tenant_id, request.run_id)
        return pb.CancelRunResponse(run=wire.run(run))

    async def PauseRun(self, request: pb.PauseRunRequest, context: Context) -> pb.PauseRunResponse:
        run = await self._steering.pause(request.tenant_id, request.run_id)
        return pb.PauseRunResponse(run=wire.run(run))

    async def ResumeRun(
        self, request: pb.ResumeRunRequest, context: Context
    ) -> pb.ResumeRunResponse:
        run = await self._steering.resume(request.tenant_id, request.run_id)
        return pb.ResumeRunResponse(run=wire.run(run))

    async def BulkRuns(self, request: pb.BulkRunsRequest, context: Context) -> pb.BulkRunsResponse:
        page = await self._bulk.steer(request.tenant_id, wire.bulk(request))
        results = map(wire.bulk_result, page.results)
        return pb.BulkRunsResponse(results=results, next_page_token=page.next_token)

    async def RetryRun(self, request: pb.RetryRunRequest, context: Context) -> pb.RetryRunResponse:
        asked = wire.retry(request)
        run = await self._steering.retry(request.tenant_id, request.run_id, asked)
        return pb.RetryRunResponse(run=wire.run(run))
