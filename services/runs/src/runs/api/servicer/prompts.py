"""The gRPC methods of PromptService."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nagaya.runs.v1 import prompt_service_pb2 as pb
from nagaya.runs.v1 import prompt_service_pb2_grpc
from runs.errors import PromptVersionNotFound
from runs.store import prompts
from runs.wire import prompts as wire

if TYPE_CHECKING:
    from dataplane.tenants import TenantPools
    from interceptor.server import Context
    from runs.api.app.prompts import Prompts


class PromptServicer(prompt_service_pb2_grpc.PromptServiceServicer):
    """Unpacks requests, calls the app or a store, packs responses."""

    def __init__(self, app: Prompts, tenants: TenantPools) -> None:
        self._app = app
        self._tenants = tenants

    async def CreatePromptVersion(
        self, request: pb.CreatePromptVersionRequest, context: Context
    ) -> pb.CreatePromptVersionResponse:
        prompt = await self._app.create(
            request.tenant_id, request.request_id, request.step, request.content
        )
        return pb.CreatePromptVersionResponse(prompt_version=wire.prompt_version(prompt))

    async def GetPromptVersion(
        self, request: pb.GetPromptVersionRequest, context: Context
    ) -> pb.GetPromptVersionResponse:
        named = request.step, request.version, request.label
        async with self._tenants.connection(request.tenant_id) as connection:
            prompt = await prompts.choose(connection, *named)
        if prompt is None:
            raise PromptVersionNotFound(*named)
        return pb.GetPromptVersionResponse(prompt_version=wire.prompt_version(prompt))

    async def ListPromptVersions(
        self, request: pb.ListPromptVersionsRequest, context: Context
    ) -> pb.ListPromptVersionsResponse:
        async with self._tenants.connection(request.tenant_id) as connection:
            page = await prompts.page(
                connection, request.step, request.page_size, request.page_token
            )
        return pb.ListPromptVersionsResponse(
            prompt_versions=map(wire.prompt_version, page.items), next_page_token=page.next_token
        )

    async def ActivatePromptVersion(
        self, request: pb.ActivatePromptVersionRequest, context: Context
    ) -> pb.ActivatePromptVersionResponse:
        prompt, uses = await self._app.activate(request.tenant_id, request.step, request.version)
        return pb.ActivatePromptVersionResponse(
            prompt_version=wire.prompt_version(prompt), uses=map(wire.prompt_use, uses)
        )

    async def SetPromptLabel(
        self, request: pb.SetPromptLabelRequest, context: Context
    ) -> pb.SetPromptLabelResponse:
        prompt, uses = await self._app.set_label(
            request.tenant_id, request.step, request.label, request.version
        )
        return pb.SetPromptLabelResponse(
            prompt_version=None if prompt is None else wire.prompt_version(prompt),
            uses=map(wire.prompt_use, uses),
        )

    async def RenderPrompt(
        self, request: pb.RenderPromptRequest, context: Context
    ) -> pb.RenderPromptResponse:
        named = request.step, request.version, request.label
        text, draft, version = await self._app.render(
            request.tenant_id, named, request.content, dict(request.values)
        )
        return pb.RenderPromptResponse(text=text, variables=draft.variables, version=version)
