"""A provider of the stack's own whose answers a test writes down: see ScriptedProvider."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.support.catalog import SCRIPTED, SCRIPTED_FORMATS, provider, scripted

from nagaya.llm_gateway.v1 import catalog_service_pb2
from nagaya_local.clone.providers import keys_file

if TYPE_CHECKING:
    from tests.support.scripted_provider import ScriptedProvider
    from tests.support.stack import LocalStack

    from nagaya_client.client import Client


async def set_scripted_provider(
    stack: LocalStack, client: Client, played: ScriptedProvider
) -> None:
    """Put a model of each wire format into the catalogue, and its key into the gateway's file."""
    keys = keys_file(stack.layout)
    mine = dict.fromkeys(SCRIPTED.values(), "scripted-key")
    keys.write_text(json.dumps(json.loads(keys.read_text()) | mine))
    for form, name in SCRIPTED.items():
        each = provider(name, played.url, SCRIPTED_FORMATS[form])
        model, price = scripted(form)
        await client.catalog.SetProvider(catalog_service_pb2.SetProviderRequest(provider=each))
        await client.catalog.SetModel(catalog_service_pb2.SetModelRequest(model=model))
        await client.catalog.SetPrice(catalog_service_pb2.SetPriceRequest(price=price))
