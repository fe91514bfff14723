"""Changing the catalogue as an operator does."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp

from nagaya.llm_gateway.v1 import catalog_service_pb2 as pb
from nagaya.llm_gateway.v1 import model_pb2

if TYPE_CHECKING:
    from datetime import datetime

    from tests.integration.llm_gateway.asking import Asking


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


async def set_model(asking: Asking, each: model_pb2.Model) -> None:
    await asking.administer("SetModel", pb.SetModelRequest(model=each))


async def set_default(asking: Asking, step: str, provider_id: str, model_class: str) -> None:
    chosen = model_pb2.ModelClass(provider_id=provider_id, model_class=model_class)
    default = model_pb2.StepDefault(step=step, model_class=chosen)
    await asking.administer("SetStepDefault", pb.SetStepDefaultRequest(step_default=default))


async def set_override(asking: Asking, step: str, provider_id: str, model_class: str) -> None:
    chosen = model_pb2.ModelClass(provider_id=provider_id, model_class=model_class)
    override = model_pb2.TenantStepOverride(step=step, model_class=chosen)
    await asking.administer(
        "SetTenantStepOverride",
        pb.SetTenantStepOverrideRequest(tenant_id=asking.tenant_id, override=override),
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


async def set_price(asking: Asking, each: model_pb2.Price) -> model_pb2.Price:
    return (await asking.administer("SetPrice", pb.SetPriceRequest(price=each))).price


def new_name(kind: str) -> str:
    return f"{kind}-{secrets.token_hex(4)}"
