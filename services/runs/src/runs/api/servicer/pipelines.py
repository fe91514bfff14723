"""The gRPC methods of PipelineService."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nagaya.runs.v1 import pipeline_service_pb2 as pb
from nagaya.runs.v1 import pipeline_service_pb2_grpc
from runs.errors import PipelineNotFound
from runs.store import pipelines
from runs.wire import pipelines as wire
from runs.wire.applied_pipelines import apply_response

if TYPE_CHECKING:
    from dataplane.tenants import TenantPools
    from interceptor.server import Context
    from runs.api.app.pipeline_apply import PipelineApply
    from runs.api.app.pipelines import Pipelines


class PipelineServicer(pipeline_service_pb2_grpc.PipelineServiceServicer):
    """Unpacks requests, calls the app or a store, packs responses."""

    def __init__(self, app: Pipelines, applying: PipelineApply, tenants: TenantPools) -> None:
        self._app = app
        self._applying = applying
        self._tenants = tenants

    async def ValidatePipeline(
        self, request: pb.ValidatePipelineRequest, context: Context
    ) -> pb.ValidatePipelineResponse:
        spec = wire.pipeline_spec(request.spec)
        size = await self._app.validate(request.tenant_id, spec)
        return pb.ValidatePipelineResponse(plan_size_bytes=size)

    async def CreatePipelineVersion(
        self, request: pb.CreatePipelineVersionRequest, context: Context
    ) -> pb.CreatePipelineVersionResponse:
        spec = wire.pipeline_spec(request.spec)
        version = await self._app.create(
            request.tenant_id, request.request_id, request.pipeline, spec
        )
        return pb.CreatePipelineVersionResponse(pipeline_version=wire.pipeline_version(version))

    async def ApplyPipeline(
        self, request: pb.ApplyPipelineRequest, context: Context
    ) -> pb.ApplyPipelineResponse:
        applied = await self._applying.apply(
            request.tenant_id,
            request.pipeline,
            wire.pipeline_spec(request.spec),
            [(each.prompt, each.content) for each in request.prompts],
            validate_only=request.validate_only,
            allow_shared=request.allow_shared,
        )
        return apply_response(applied)

    async def GetPipelineVersion(
        self, request: pb.GetPipelineVersionRequest, context: Context
    ) -> pb.GetPipelineVersionResponse:
        async with self._tenants.connection(request.tenant_id) as connection:
            version = await pipelines.find(connection, request.pipeline, request.version)
        if version is None:
            raise PipelineNotFound(request.pipeline, request.version)
        return pb.GetPipelineVersionResponse(pipeline_version=wire.pipeline_version(version))

    async def ListPipelineVersions(
        self, request: pb.ListPipelineVersionsRequest, context: Context
    ) -> pb.ListPipelineVersionsResponse:
        async with self._tenants.connection(request.tenant_id) as connection:
            page = await pipelines.page(
                connection, request.pipeline, request.page_size, request.page_token
            )
        versions = map(wire.pipeline_version, page.items)
        return pb.ListPipelineVersionsResponse(
            pipeline_versions=versions, next_page_token=page.next_token
        )
