"""Other processes of the gateway, at the addresses that they have announced."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Self

from llm_gateway.domain.calls import Delta
from llm_gateway.wire.calls import key_message
from nagaya.llm_gateway.v1 import generation_service_pb2 as pb
from nagaya.llm_gateway.v1 import generation_service_pb2_grpc
from servicekit.channel import open_channel
from servicekit.errors import PeerUnavailable
from tls.address import ServerAddress
from tls.files import read_certificate

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import grpc

    from llm_gateway.domain.calls import CallKey
    from servicekit.identity import WorkloadSigner
    from tls.config import ClientTls


_PEER = "llm-gateway"


class Gateways:
    """Asks other processes of the gateway, for the tenant and person of the current call.

    A lease is a row of the tenant's database, so its address is not believed. With TLS the process
    there must have a certificate for the same host name as this one's, wherever it is, and nothing
    is asked in plaintext.
    """

    def __init__(self, signer: WorkloadSigner, tls: ClientTls | None) -> None:
        """`tls` is how they are verified; None where all speak plaintext."""
        self._signer = signer
        self._tls = tls
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
        """Return the channel to a lease's address. Raises PeerUnavailable."""
        if endpoint not in self._channels:
            address = self._address(endpoint)
            self._channels[endpoint] = open_channel(address, self._signer, streaming=True)
        return self._channels[endpoint]

    def _address(self, endpoint: str) -> ServerAddress:
        try:
            address = ServerAddress.parse(endpoint, self._named_as_this())
        except ValueError as error:
            raise PeerUnavailable(f"the lease names {endpoint!r}: {error}", peer=_PEER) from None
        if (address.tls is None) != (self._tls is None):
            spoken = "TLS" if address.tls is None else "plaintext"
            raise PeerUnavailable(
                f"{endpoint} is not asked: this process speaks {spoken}", peer=_PEER
            )
        return address

    def _named_as_this(self) -> ClientTls | None:
        """How another process is verified. Raises CertificateInvalid, a ValueError."""
        if self._tls is None or self._tls.own is None:
            return self._tls
        names = read_certificate(self._tls.own).dns_names
        own = next((name for name in names if "*" not in name), "")
        return replace(self._tls, server_name=own)
