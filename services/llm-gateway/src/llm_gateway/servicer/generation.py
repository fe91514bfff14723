"""GenerationService."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from llm_gateway.app.in_flight import Cursor
from llm_gateway.wire.calls import call, key_of
from llm_gateway.wire.generation import needs_of, request_of, stream_response, watch_response
from llm_gateway.wire.models import choice_of, resolution
from nagaya.llm_gateway.v1 import generation_service_pb2 as pb
from nagaya.llm_gateway.v1 import generation_service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from interceptor.server import Context
    from llm_gateway.app.prepare import CallPreparer
    from llm_gateway.app.request import RequestHandler
    from llm_gateway.app.watch_call import CallWatcher


class GenerationServicer(generation_service_pb2_grpc.GenerationServiceServicer):
    """Generate, StreamGenerate, WatchCall and Resolve."""

    def __init__(
        self, handler: RequestHandler, preparer: CallPreparer, watcher: CallWatcher
    ) -> None:
        self._handler = handler
        self._preparer = preparer
        self._watcher = watcher

    async def Generate(self, request: pb.GenerateRequest, context: Context) -> pb.GenerateResponse:
        call_request = request_of(request.tenant_id, request.spec, request.files)
        result = await self._handler.generate(call_request, include_reply=request.include_reply)
        return pb.GenerateResponse(
            call=call(result.call), replayed=result.replayed, reply=result.reply
        )

    async def StreamGenerate(
        self, request: pb.StreamGenerateRequest, context: Context
    ) -> AsyncIterator[pb.StreamGenerateResponse]:
        call_request = request_of(request.tenant_id, request.spec)
        cursor = Cursor(request.offset, request.attempt)
        async for event in self._handler.stream(call_request, cursor):
            yield stream_response(event)

    async def WatchCall(
        self, request: pb.WatchCallRequest, context: Context
    ) -> AsyncIterator[pb.WatchCallResponse]:
        key, cursor = key_of(request.key), Cursor(request.offset, request.attempt)
        watch = self._watcher.watch(request.tenant_id, key, cursor, relayed=request.relayed)
        async with aclosing(watch) as events:
            async for event in events:
                yield watch_response(event)

    async def Resolve(self, request: pb.ResolveRequest, context: Context) -> pb.ResolveResponse:
        route = await self._preparer.resolve(
            request.tenant_id,
            request.step,
            choice_of(request.model),
            choice_of(request.run_model),
            needs_of(request.needs) if request.HasField("needs") else None,
        )
        return pb.ResolveResponse(resolution=resolution(route.resolution))
