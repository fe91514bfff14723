"""Addresses of this machine's providers in the gateway's catalogue: real, or the stub's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc

from nagaya.llm_gateway.v1 import catalog_service_pb2 as pb
from nagaya_local.clone.endpoints import Endpoints
from nagaya_local.clone.providers import read_providers
from nagaya_local.clone.tokens import operator_token
from nagaya_local.errors import LocalError
from nagaya_local.parts.health import CHANNEL_OPTIONS
from tls.address import ServerAddress
from tls.credentials import open_channel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nagaya.llm_gateway.v1 import model_pb2
    from nagaya_local.clone.layout import Layout
    from nagaya_local.clone.providers import Provider

_SERVICE = "/nagaya.llm_gateway.v1.CatalogService"
_SECONDS = 20.0
_STUB_PREFIX = "http://127.0.0.1:"


CATALOG_SECONDS = 2.0
"""The catalogue's promise: a change holds for every call that begins this much later."""


async def set_provider_addresses(layout: Layout) -> bool:
    """Activate every provider, and set its `api_base_url` where another is wanted.

    The stub's address may have changed since the last start. An address that somebody has set for
    a real provider stays. Returns whether anything was changed. Raises LocalError.
    """
    endpoints = Endpoints.read(layout.endpoints)
    address = ServerAddress.parse(endpoints.llm_gateway, endpoints.client_tls)
    wanted = {provider.id: provider for provider in read_providers(layout)}
    return await asyncio.to_thread(_set_addresses, address, operator_token(layout), wanted)


def _set_addresses(address: ServerAddress, token: str, providers: dict[str, Provider]) -> bool:
    changed = False
    with open_channel(address, CHANNEL_OPTIONS) as channel:
        catalog = _Catalog(channel, token)
        try:
            for known in catalog.providers():
                wanted = providers.get(known.provider_id)
                if wanted is None or (known.active and _has_wanted_address(known, wanted)):
                    continue
                if not _has_wanted_address(known, wanted):
                    known.api_base_url = wanted.api_base_url
                known.active = True
                catalog.set(known)
                changed = True
        except grpc.RpcError as error:
            details = error.details() if isinstance(error, grpc.Call) else str(error)
            raise LocalError(
                f"llm-gateway does not take the providers' addresses: {details}",
                "Read its log with `nagaya dev logs llm-gateway`.",
            ) from error
    return changed


class _Catalog:
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


def _has_wanted_address(known: model_pb2.Provider, wanted: Provider) -> bool:
    if wanted.real:
        return not known.api_base_url.startswith(_STUB_PREFIX)
    return known.api_base_url == wanted.api_base_url
