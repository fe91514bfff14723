"""The catalogue of providers and models, as an operator changes it."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp
from tests.support.audit_log import chain

from nagaya.llm_gateway.v1 import catalog_service_pb2 as pb
from nagaya.llm_gateway.v1 import model_pb2

if TYPE_CHECKING:
    import asyncpg
    from tests.support.gateway_client import GatewayClient

SCRIPTED_FORMATS = {
    "claude": model_pb2.WIRE_FORMAT_CLAUDE_MESSAGES,
    "responses": model_pb2.WIRE_FORMAT_OPENAI_RESPONSES,
    "chat": model_pb2.WIRE_FORMAT_OPENAI_CHAT,
    "gemini": model_pb2.WIRE_FORMAT_GEMINI_GENERATE_CONTENT,
}
SCRIPTED = {form: f"scripted-{form}" for form in SCRIPTED_FORMATS}
"""The provider of each wire format that ScriptedProvider plays; its only model has its id."""


def provider(provider_id: str, url: str, wire_format: int) -> model_pb2.Provider:
    return model_pb2.Provider(
        provider_id=provider_id,
        display_name=provider_id,
        api_base_url=url,
        active=True,
        wire_format=model_pb2.WireFormat.ValueType(wire_format),
    )


def model(
    model_id: str, provider_id: str, model_class: str, *, active: bool = True
) -> model_pb2.Model:
    can = model_pb2.ModelCapabilities(max_output_tokens=1000, max_input_tokens=10_000)
    return model_pb2.Model(
        model_id=model_id,
        provider_id=provider_id,
        model_name=model_id,
        model_class=model_class,
        active=active,
        capabilities=can,
    )


async def set_provider(client: GatewayClient, provider_id: str, url: str, wire_format: int) -> None:
    each = provider(provider_id, url, wire_format)
    await client.change_catalog("SetProvider", pb.SetProviderRequest(provider=each))


async def set_model(client: GatewayClient, each: model_pb2.Model) -> None:
    await client.change_catalog("SetModel", pb.SetModelRequest(model=each))


async def set_default(client: GatewayClient, step: str, provider_id: str, model_class: str) -> None:
    chosen = model_pb2.ModelClass(provider_id=provider_id, model_class=model_class)
    default = model_pb2.StepDefault(step=step, model_class=chosen)
    await client.change_catalog("SetStepDefault", pb.SetStepDefaultRequest(step_default=default))


async def set_override(
    client: GatewayClient, step: str, provider_id: str, model_class: str
) -> None:
    chosen = model_pb2.ModelClass(provider_id=provider_id, model_class=model_class)
    override = model_pb2.TenantStepOverride(step=step, model_class=chosen)
    await client.change_catalog(
        "SetTenantStepOverride",
        pb.SetTenantStepOverrideRequest(tenant_id=client.tenant_id, override=override),
    )


def price(
    model_id: str, effective: datetime, input_micro_usd: int, length: int = 0
) -> model_pb2.Price:
    moment = Timestamp()
    moment.FromDatetime(effective)
    return model_pb2.Price(
        model_id=model_id,
        effective_time=moment,
        min_input_tokens=length,
        input_micro_usd=input_micro_usd,
        output_micro_usd=7,
    )


async def set_price(client: GatewayClient, each: model_pb2.Price) -> model_pb2.Price:
    return (await client.change_catalog("SetPrice", pb.SetPriceRequest(price=each))).price


def new_name(kind: str) -> str:
    return f"{kind}-{secrets.token_hex(4)}"


def scripted(form: str) -> tuple[model_pb2.Model, model_pb2.Price]:
    """Return the model of a scripted provider, and its price.

    A million tokens cost 3 USD of input, 0.30 read from a cache, 3.75 written to one, 15 of output.
    """
    name = SCRIPTED[form]
    each = model(name, name, "standard")
    each.capabilities.max_output_tokens = 100_000
    each.capabilities.max_input_tokens = 1_000_000
    each.capabilities.json_schema = each.capabilities.temperature = True
    each.capabilities.reasoning_headroom_tokens = 1_000
    rates = price(name, datetime(2026, 1, 1, tzinfo=UTC), 3_000_000)
    rates.cache_read_micro_usd, rates.cache_write_micro_usd = 300_000, 3_750_000
    rates.output_micro_usd = 15_000_000
    return each, rates


async def entries_and_version(management: asyncpg.Connection) -> tuple[int, int]:
    """Return how many entries the audit log has, and the version of the catalogue."""
    await chain(management)
    entries = await management.fetchval("SELECT count(*) FROM audit_logs")
    return entries, await management.fetchval("SELECT version FROM llm_catalog")
