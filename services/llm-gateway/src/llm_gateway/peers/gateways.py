"""Other processes of the gateway, at the addresses that they have announced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from llm_gateway.domain.calls import Delta
from llm_gateway.wire.calls import key_message
from nagaya.llm_gateway.v1 import generation_service_pb2 as pb
from nagaya.llm_gateway.v1 import generation_service_pb2_grpc
from servicekit.channel import open_channel

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import grpc

    from llm_gateway.domain.calls import CallKey
    from servicekit.identity import WorkloadSigner


class Gateways:
    """Asks other processes of the gateway, for the tenant and person of the current call."""

    def __init__(self, signer: WorkloadSigner) -> None:
        self._signer = signer
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def watch(
        self, endpoint: str, tenant_id: str, key: CallKey, offset: int, attempt: int
    ) -> AsyncGenerator[Delta]:
        """Yield the text of a reply that another process receives, until the call has ended.

        Raises DomainError.
        """
        request = pb.WatchCallRequest(
            tenant_id=tenant_id,
            key=key_message(key),
            offset=offset,
            attempt=attempt,
            relayed=True,
        )
        stream = generation_service_pb2_grpc.GenerationServiceStub(self._channel(endpoint))
        async for response in stream.WatchCall(request):
            if response.WhichOneof("event") == "delta":
                delta = response.delta
                yield Delta(delta.attempt, delta.offset, delta.text)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """End every connection."""
        for channel in self._channels.values():
            await channel.close()

    def _channel(self, endpoint: str) -> grpc.aio.Channel:
        if endpoint not in self._channels:
            self._channels[endpoint] = open_channel(endpoint, self._signer, streaming=True)
        return self._channels[endpoint]
