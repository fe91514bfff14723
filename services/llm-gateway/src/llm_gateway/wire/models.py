"""Models, providers, prices and the choice of models, as messages."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

from llm_gateway.domain.models import (
    Capabilities,
    Model,
    ModelClass,
    ModelId,
    Provider,
    ResolutionRule,
    StepDefault,
    WireFormat,
)
from llm_gateway.domain.prices import Price, Rates
from nagaya.llm_gateway.v1 import model_pb2 as pb
from servicekit.errors import RequestInvalid, Violation
from servicekit.times import timestamp

if TYPE_CHECKING:
    from llm_gateway.domain.models import (
        ModelChoice,
        Resolution,
        StepOverride,
    )

_NANOS = 1_000_000_000
_RULES = {rule: pb.ResolutionRule.Value(f"RESOLUTION_RULE_{rule.name}") for rule in ResolutionRule}
_FORMATS = {pb.WireFormat.Value(f"WIRE_FORMAT_{format_.name}"): format_ for format_ in WireFormat}


def choice_of(message: pb.ModelChoice) -> ModelChoice | None:
    match message.WhichOneof("choice"):
        case "model_class":
            return class_of(message.model_class)
        case "model_id":
            return ModelId(message.model_id)
        case _:
            return None


def class_of(message: pb.ModelClass) -> ModelClass:
    return ModelClass(message.provider_id, message.model_class)


def provider_of(message: pb.Provider) -> Provider:
    return Provider(
        id=message.provider_id,
        display_name=message.display_name,
        api_base_url=message.api_base_url,
        active=message.active,
        wire_format=_FORMATS[message.wire_format],
    )


def model_of(message: pb.Model) -> Model:
    can = message.capabilities
    return Model(
        id=message.model_id,
        provider_id=message.provider_id,
        name=message.model_name,
        model_class=message.model_class,
        active=message.active,
        capabilities=Capabilities(
            max_output_tokens=can.max_output_tokens,
            max_input_tokens=can.max_input_tokens,
            json_schema=can.json_schema,
            temperature=can.temperature,
            reasoning_headroom_tokens=can.reasoning_headroom_tokens,
        ),
    )


def price_of(message: pb.Price) -> Price:
    """Read a price. Raises RequestInvalid for an invalid time."""
    if not 0 <= message.effective_time.nanos < _NANOS:
        fault = "must be from 0 to 999,999,999"
        raise RequestInvalid(
            f"price.effective_time.nanos {fault}",
            violations=(Violation("price.effective_time.nanos", fault),),
        )
    effective_at = message.effective_time.ToDatetime(UTC)
    return Price(
        id=Price.id_of(message.model_id, effective_at, message.min_input_tokens),
        model_id=message.model_id,
        effective_at=effective_at,
        min_input_tokens=message.min_input_tokens,
        rates=Rates(
            input=message.input_micro_usd,
            cache_read=message.cache_read_micro_usd,
            cache_write=message.cache_write_micro_usd,
            output=message.output_micro_usd,
        ),
    )


def step_default_of(message: pb.StepDefault) -> StepDefault:
    return StepDefault(message.step, class_of(message.model_class))


def model_class(chosen: ModelClass) -> pb.ModelClass:
    return pb.ModelClass(provider_id=chosen.provider_id, model_class=chosen.model_class)


def provider(provider: Provider) -> pb.Provider:
    return pb.Provider(
        provider_id=provider.id,
        display_name=provider.display_name,
        api_base_url=provider.api_base_url,
        active=provider.active,
        wire_format=pb.WireFormat.Value(f"WIRE_FORMAT_{provider.wire_format.name}"),
    )


def model(model: Model) -> pb.Model:
    can = model.capabilities
    return pb.Model(
        model_id=model.id,
        provider_id=model.provider_id,
        model_name=model.name,
        model_class=model.model_class,
        active=model.active,
        capabilities=pb.ModelCapabilities(
            max_output_tokens=can.max_output_tokens,
            max_input_tokens=can.max_input_tokens,
            json_schema=can.json_schema,
            temperature=can.temperature,
            reasoning_headroom_tokens=can.reasoning_headroom_tokens,
        ),
    )


def price(price: Price) -> pb.Price:
    return pb.Price(
        price_id=price.id,
        model_id=price.model_id,
        effective_time=timestamp(price.effective_at),
        min_input_tokens=price.min_input_tokens,
        input_micro_usd=price.rates.input,
        cache_read_micro_usd=price.rates.cache_read,
        cache_write_micro_usd=price.rates.cache_write,
        output_micro_usd=price.rates.output,
    )


def step_default(default: StepDefault) -> pb.StepDefault:
    return pb.StepDefault(step=default.step, model_class=model_class(default.model_class))


def step_override(override: StepOverride) -> pb.TenantStepOverride:
    return pb.TenantStepOverride(
        step=override.step,
        model_class=model_class(override.model_class),
        update_time=timestamp(override.updated_at),
    )


def resolution(chosen: Resolution) -> pb.Resolution:
    return pb.Resolution(
        provider_id=chosen.provider_id,
        model_id=chosen.model_id,
        model_name=chosen.model_name,
        model_class=chosen.model_class,
        rule=_RULES[chosen.rule],
        price_id=chosen.price_id,
        catalog_version=chosen.catalog_version,
    )
