"""The rules that choose a model, and the check that it can do what is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llm_gateway.domain.models import Resolution, ResolutionRule, WireFormat
from llm_gateway.errors import CapabilityMissing, ModelUnpriced, ModelUnresolved

if TYPE_CHECKING:
    from datetime import datetime

    from llm_gateway.domain.catalog import Catalog
    from llm_gateway.domain.models import Model, ModelChoice, ModelClass, Provider
    from llm_gateway.domain.prices import Price
    from llm_gateway.domain.requests import ModelNeeds
    from llm_gateway.domain.usage import Usage


@dataclass(frozen=True, slots=True)
class Choices:
    """The choices of a model, in order of precedence; the step's default comes last."""

    request: ModelChoice | None
    run: ModelChoice | None
    tenant_override: ModelClass | None


@dataclass(frozen=True, slots=True)
class ModelRoute:
    """The model chosen for a call, with the version of the catalogue that prices it."""

    resolution: Resolution
    provider: Provider
    model: Model
    catalog: Catalog

    def price(self, moment: datetime, usage: Usage) -> Price:
        """Return the price row for a usage. Raises ModelUnpriced."""
        found = self.catalog.price(self.model.id, moment, usage.prompt_tokens)
        if found is None:
            raise ModelUnpriced(self.model.id)
        return found


def resolve(catalog: Catalog, step: str, choices: Choices, moment: datetime) -> ModelRoute:
    """Return the model that serves a step. Raises ModelUnresolved, ModelUnavailable."""
    candidates = (
        (ResolutionRule.REQUEST, choices.request),
        (ResolutionRule.RUN, choices.run),
        (ResolutionRule.TENANT_OVERRIDE, choices.tenant_override),
        (ResolutionRule.STEP_DEFAULT, catalog.step_defaults.get(step)),
    )
    rule, choice = next((c for c in candidates if c[1] is not None), (None, None))
    if rule is None or choice is None:
        raise ModelUnresolved(f"nothing says which model the step {step} uses", step=step)
    model = catalog.pick(choice)
    price = catalog.price(model.id, moment)
    resolution = Resolution(
        provider_id=model.provider_id,
        model_id=model.id,
        model_name=model.name,
        model_class=model.model_class,
        rule=rule,
        price_id="" if price is None else price.id,
        catalog_version=catalog.version,
    )
    return ModelRoute(resolution, catalog.providers[model.provider_id], model, catalog)


def check(route: ModelRoute, needs: ModelNeeds) -> None:
    """Raise CapabilityMissing or ModelUnpriced if the model cannot do what is needed."""
    if not route.resolution.price_id:
        raise ModelUnpriced(route.model.id)
    can = route.model.capabilities
    if needs.json_schema and not can.json_schema:
        raise CapabilityMissing(route.model.id, "json_schema")
    # Claude's API refuses it for every model since version 2026-10-21, whatever a row says.
    removed = route.provider.wire_format is WireFormat.CLAUDE_MESSAGES
    if needs.temperature and (removed or not can.temperature):
        raise CapabilityMissing(route.model.id, "temperature")
    if needs.max_output_tokens > can.max_output_tokens:
        raise CapabilityMissing(route.model.id, "max_output_tokens")


def output_limit(model: Model, visible: int) -> int:
    """Return a reply's token limit, reasoning included; `visible` is 0 for the model's own."""
    can = model.capabilities
    if not visible:
        return can.max_output_tokens
    return min(visible + can.reasoning_headroom_tokens, can.max_output_tokens)
