"""CallService."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING
from uuid import UUID

from llm_gateway.errors import CallNotFound
from llm_gateway.store import calls
from llm_gateway.wire import calls as wire
from nagaya.llm_gateway.v1 import call_service_pb2 as pb
from nagaya.llm_gateway.v1 import call_service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from dataplane.tenants import TenantPools
    from interceptor.server import Context
    from llm_gateway.app.stored_replies import StoredReplies
    from llm_gateway.domain.calls import LlmCall
    from nagaya.llm_gateway.v1 import call_pb2


class CallServicer(call_service_pb2_grpc.CallServiceServicer):
    """GetCall, GetReply, ListCalls and SummarizeUsage."""

    def __init__(self, tenants: TenantPools, replies: StoredReplies) -> None:
        self._tenants = tenants
        self._replies = replies

    async def GetCall(self, request: pb.GetCallRequest, context: Context) -> pb.GetCallResponse:
        return pb.GetCallResponse(call=wire.call(await self._find(request.tenant_id, request.key)))

    async def GetReply(
        self, request: pb.GetReplyRequest, context: Context
    ) -> AsyncIterator[pb.GetReplyResponse]:
        call = await self._find(request.tenant_id, request.key)
        described = False
        async with aclosing(self._replies.chunks(request.tenant_id, call)) as chunks:
            async for chunk in chunks:
                if not described:
                    yield pb.GetReplyResponse(call=wire.call(call))
                    described = True
                yield pb.GetReplyResponse(data=chunk)

    async def ListCalls(
        self, request: pb.ListCallsRequest, context: Context
    ) -> pb.ListCallsResponse:
        run_id = UUID(request.run_id) if request.run_id else None
        state = wire.state_of(request.state)
        async with self._tenants.connection(request.tenant_id) as connection:
            page = await calls.page(
                connection, run_id, state, request.page_size, request.page_token
            )
        return pb.ListCallsResponse(
            calls=map(wire.call, page.items), next_page_token=page.next_token
        )

    async def SummarizeUsage(
        self, request: pb.SummarizeUsageRequest, context: Context
    ) -> pb.SummarizeUsageResponse:
        run_ids = [UUID(run_id) for run_id in request.run_ids]
        async with self._tenants.connection(request.tenant_id) as connection:
            usages = await calls.usage_by_run(connection, run_ids)
        return pb.SummarizeUsageResponse(
            run_usages=[wire.run_usage(run_id, usages.get(run_id)) for run_id in run_ids]
        )

    async def _find(self, tenant_id: str, key_message: call_pb2.CallKey) -> LlmCall:
        key = wire.key_of(key_message)
        async with self._tenants.connection(tenant_id) as connection:
            call = await calls.find(connection, key)
        if call is None:
            raise CallNotFound(f"there is no call {key}")
        return call
