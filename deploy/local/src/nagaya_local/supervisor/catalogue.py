"""Telling the gateway's catalogue where this machine's providers are: real ones, or the stub."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc

from nagaya.llm_gateway.v1 import catalog_service_pb2 as pb
from nagaya_local.errors import LocalError
from nagaya_local.parts.health import CHANNEL_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nagaya.llm_gateway.v1 import model_pb2
    from nagaya_local.clone.providers import Provider

_SERVICE = "/nagaya.llm_gateway.v1.CatalogService"
_SECONDS = 20.0
_STUB_PREFIX = "http://127.0.0.1:"


async def place_providers(address: str, token: str, providers: Sequence[Provider]) -> None:
    """Set `api_base_url` of every provider that is not where it should be. Raises LocalError.

    The stub's address may be another one than yesterday's. An address that somebody has set for
    a real provider stays.
    """
    wanted = {provider.id: provider for provider in providers}
    await asyncio.to_thread(_place, address, token, wanted)


def _place(address: str, token: str, providers: dict[str, Provider]) -> None:
    with grpc.insecure_channel(address, CHANNEL_OPTIONS) as channel:
        catalogue = _Catalogue(channel, token)
        try:
            for known in catalogue.providers():
                wanted = providers.get(known.provider_id)
                if wanted is not None and not _is_placed(known, wanted):
                    known.api_base_url = wanted.api_base_url
                    catalogue.set(known)
        except grpc.RpcError as error:
            told = error.details() if isinstance(error, grpc.Call) else str(error)
            raise LocalError(
                f"llm-gateway does not take the providers' addresses: {told}",
                "Read its log with `nagaya dev logs llm-gateway`.",
            ) from error


class _Catalogue:
    """The two methods needed; the generated stub is typed for grpc.aio only."""

    def __init__(self, channel: grpc.Channel, token: str) -> None:
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._list = channel.unary_unary(
            f"{_SERVICE}/ListProviders",
            request_serializer=pb.ListProvidersRequest.SerializeToString,
            response_deserializer=pb.ListProvidersResponse.FromString,
        )
        self._set = channel.unary_unary(
            f"{_SERVICE}/SetProvider",
            request_serializer=pb.SetProviderRequest.SerializeToString,
            response_deserializer=pb.SetProviderResponse.FromString,
        )

    def providers(self) -> Sequence[model_pb2.Provider]:
        request = pb.ListProvidersRequest(page_size=200)
        return self._list(request, timeout=_SECONDS, metadata=self._metadata).providers

    def set(self, provider: model_pb2.Provider) -> None:
        request = pb.SetProviderRequest(provider=provider)
        self._set(request, timeout=_SECONDS, metadata=self._metadata)


def _is_placed(known: model_pb2.Provider, wanted: Provider) -> bool:
    if wanted.real:
        return not known.api_base_url.startswith(_STUB_PREFIX)
    return known.api_base_url == wanted.api_base_url
