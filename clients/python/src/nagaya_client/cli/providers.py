"""The catalogue's providers on a local stack: played by the stub, or real where a key is set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nagaya.llm_gateway.v1 import catalog_service_pb2 as pb
from nagaya_client.errors import NagayaError
from nagaya_client.paging import first

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nagaya_client.client import Client
    from nagaya_local.clone.providers import Provider


async def point_providers(client: Client, wanted: Iterable[Provider]) -> bool:
    """Point each provider to where the stack wants it; whether anything had to be changed."""
    listed = await first(client.catalog.ListProviders, pb.ListProvidersRequest(), 200)
    known = {provider.provider_id: provider for provider in listed.providers}
    changed = False
    for want in wanted:
        provider = known.get(want.id)
        if provider is None:
            raise NagayaError(
                f"the catalogue has no provider {want.id}", "`nagaya model set-provider` adds one."
            )
        if (provider.api_base_url, provider.active) != (want.api_base_url, True):
            provider.api_base_url, provider.active = want.api_base_url, True
            await client.catalog.SetProvider(pb.SetProviderRequest(provider=provider))
            changed = True
    return changed
