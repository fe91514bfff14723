"""How runs takes the ends of replies that the llm-gateway tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest

from nagaya.llm_gateway.v1 import (
    call_pb2,
    generation_service_pb2,
    generation_service_pb2_grpc,
)
from runs.domain.activities import StepRef
from runs.domain.generation import FinishReason, GenerationRequest
from runs.peers.llm_gateway import LlmGateway

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from interceptor.server import Context

KNOWN = {
    call_pb2.FINISH_REASON_STOP: FinishReason.STOP,
    call_pb2.FINISH_REASON_LENGTH: FinishReason.LENGTH,
    call_pb2.FINISH_REASON_TRUNCATED_BY_REASONING: FinishReason.LENGTH,
    call_pb2.FINISH_REASON_REFUSAL: FinishReason.REFUSAL,
}
OF_A_LATER_RELEASE = 99


class Gateway(generation_service_pb2_grpc.GenerationServiceServicer):
    """Answers every request with one end."""

    def __init__(self) -> None:
        self.finish = 0
        self.asked: list[generation_service_pb2.GenerateRequest] = []

    async def Generate(
        self, request: generation_service_pb2.GenerateRequest, context: Context
    ) -> generation_service_pb2.GenerateResponse:
        self.asked.append(request)
        call = call_pb2.Call(finish_reason=call_pb2.FinishReason.ValueType(self.finish))
        return generation_service_pb2.GenerateResponse(call=call)


@pytest.fixture
async def gateway() -> AsyncIterator[tuple[Gateway, LlmGateway]]:
    servicer = Gateway()  # pyright: ignore[reportAbstractUsage] - nothing else is called
    server = grpc.aio.server()
    generation_service_pb2_grpc.add_GenerationServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield servicer, LlmGateway(channel)
    await server.stop(None)


def question(*, allow_empty: bool = False) -> GenerationRequest:
    return GenerationRequest(
        ref=StepRef("acme", "00000000-0000-4000-8000-000000000000", 1, "ask"),
        parts=("Write.",),
        model=None,
        run_model=None,
        max_output_tokens=0,
        output_schema=None,
        redo_unknown=False,
        allow_empty=allow_empty,
    )


@pytest.mark.parametrize("finish", [*call_pb2.FinishReason.values(), OF_A_LATER_RELEASE])
async def test_only_a_reply_that_is_known_to_be_complete_is_done(
    gateway: tuple[Gateway, LlmGateway], finish: int
) -> None:
    servicer, peer = gateway
    servicer.finish = finish

    answer = await peer.generate(question())

    assert answer.finish_reason is KNOWN.get(
        call_pb2.FinishReason.ValueType(finish), FinishReason.UNKNOWN
    )


@pytest.mark.parametrize("allow_empty", [False, True])
async def test_whether_a_reply_may_be_empty_is_passed_to_the_gateway(
    gateway: tuple[Gateway, LlmGateway], *, allow_empty: bool
) -> None:
    servicer, peer = gateway
    servicer.finish = call_pb2.FINISH_REASON_STOP

    await peer.generate(question(allow_empty=allow_empty))

    assert [request.spec.allow_empty for request in servicer.asked] == [allow_empty]
