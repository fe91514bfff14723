"""A provider of the stack's own whose answers a test writes down: see ScriptedProvider."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp

from nagaya.llm_gateway.v1 import catalog_service_pb2, model_pb2
from nagaya_local.clone.providers import keys_file

if TYPE_CHECKING:
    from tests.e2e.house import House
    from tests.fixtures.scripted_provider import ScriptedProvider

    from nagaya_client.client import Client

MODEL = "scripted-{form}"
"""The model of each wire format, and its provider."""
_FORMATS = {
    "claude": model_pb2.WIRE_FORMAT_CLAUDE_MESSAGES,
    "responses": model_pb2.WIRE_FORMAT_OPENAI_RESPONSES,
    "chat": model_pb2.WIRE_FORMAT_OPENAI_CHAT,
    "gemini": model_pb2.WIRE_FORMAT_GEMINI_GENERATE_CONTENT,
}


async def set_scripted_provider(house: House, client: Client, provider: ScriptedProvider) -> None:
    """Put a model of each wire format into the catalogue, and its key into the gateway's file."""
    keys = keys_file(house.layout)
    mine = {MODEL.format(form=form): "scripted-key" for form in _FORMATS}
    keys.write_text(json.dumps(json.loads(keys.read_text()) | mine))
    for form, wire_format in _FORMATS.items():
        name = MODEL.format(form=form)
        each = model_pb2.Provider(
            provider_id=name,
            display_name=name,
            api_base_url=provider.url,
            active=True,
            wire_format=wire_format,
        )
        await client.catalog.SetProvider(catalog_service_pb2.SetProviderRequest(provider=each))
        can = model_pb2.ModelCapabilities(
            max_output_tokens=10_000, max_input_tokens=100_000, json_schema=True
        )
        model = model_pb2.Model(
            model_id=name,
            provider_id=name,
            model_name=name,
            model_class="standard",
            active=True,
            capabilities=can,
        )
        await client.catalog.SetModel(catalog_service_pb2.SetModelRequest(model=model))
        price = model_pb2.Price(
            model_id=name,
            effective_time=Timestamp(seconds=1_767_225_600),
            input_micro_usd=3_000_000,
            output_micro_usd=15_000_000,
        )
        await client.catalog.SetPrice(catalog_service_pb2.SetPriceRequest(price=price))
