"""GenerationService."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_gateway.app.flights import Cursor
from llm_gateway.wire.calls import call
from llm_gateway.wire.models import choice_of, resolution
from llm_gateway.wire.requests import needs_of, spec_of, streamed
from nagaya.llm_gateway.v1 import generation_service_pb2 as pb
from nagaya.llm_gateway.v1 import generation_service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from interceptor.server import Context
    from llm_gateway.app.generation import Generations
    from llm_gateway.app.journeys import Journeys


class GenerationServicer(generation_service_pb2_grpc.GenerationServiceServicer):
    def __init__(self, generations: Generations, journeys: Journeys) -> None:
        self._generations = generations
        self._journeys = journeys

    async def Generate(self, request: pb.GenerateRequest, context: Context) -> pb.GenerateResponse:
        done = await self._generations.generate(request.tenant_id, spec_of(request.spec))
        return pb.GenerateResponse(call=call(done.call), replayed=done.replayed)

    async def StreamGenerate(
        self, request: pb.StreamGenerateRequest, context: Context
    ) -> AsyncIterator[pb.StreamGenerateResponse]:
        spec, cursor = spec_of(request.spec), Cursor(request.offset, request.attempt)
        async for event in self._generations.stream(request.tenant_id, spec, cursor):
            yield streamed(event)

    async def Resolve(self, request: pb.ResolveRequest, context: Context) -> pb.ResolveResponse:
        route = await self._journeys.resolve(
            request.tenant_id,
            request.step,
            choice_of(request.model),
            choice_of(request.run_model),
            needs_of(request.needs) if request.HasField("needs") else None,
        )
        return pb.ResolveResponse(resolution=resolution(route.resolution))
