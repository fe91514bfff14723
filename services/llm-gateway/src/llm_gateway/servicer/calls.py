"""CallService."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from llm_gateway.errors import CallNotFound
from llm_gateway.store import calls
from llm_gateway.wire import calls as wire
from nagaya.llm_gateway.v1 import call_service_pb2 as pb
from nagaya.llm_gateway.v1 import call_service_pb2_grpc

if TYPE_CHECKING:
    from dataplane.tenants import TenantPools
    from interceptor.server import Context


class CallServicer(call_service_pb2_grpc.CallServiceServicer):
    """GetCall, ListCalls and SummarizeUsage."""

    def __init__(self, tenants: TenantPools) -> None:
        self._tenants = tenants

    async def GetCall(self, request: pb.GetCallRequest, context: Context) -> pb.GetCallResponse:
        key = wire.key_of(request.key)
        async with self._tenants.connection(request.tenant_id) as connection:
            call = await calls.find(connection, key)
        if call is None:
            raise CallNotFound(str(key))
        return pb.GetCallResponse(call=wire.call(call))

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
