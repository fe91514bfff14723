"""The catalogue: providers, models, prices and the defaults of steps, as of one version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llm_gateway.domain.models import ModelId
from llm_gateway.domain.prices import price_at
from llm_gateway.errors import ModelUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from llm_gateway.domain.models import Model, ModelChoice, ModelClass, Provider, StepDefault
    from llm_gateway.domain.prices import Price


@dataclass(frozen=True, slots=True)
class Catalog:
    """One version of the catalogue, immutable."""

    version: int
    providers: Mapping[str, Provider]
    models: Mapping[str, Model]
    prices: Mapping[str, tuple[Price, ...]]
    """By model."""
    step_defaults: Mapping[str, ModelClass]

    @classmethod
    def of(
        cls,
        version: int,
        providers: Iterable[Provider],
        models: Iterable[Model],
        prices: Iterable[Price],
        step_defaults: Iterable[StepDefault],
    ) -> Catalog:
        by_model: dict[str, list[Price]] = {}
        for price in prices:
            by_model.setdefault(price.model_id, []).append(price)
        return cls(
            version=version,
            providers={provider.id: provider for provider in providers},
            models={model.id: model for model in models},
            prices={model_id: tuple(rows) for model_id, rows in by_model.items()},
            step_defaults={default.step: default.model_class for default in step_defaults},
        )

    def pick(self, choice: ModelChoice) -> Model:
        """Return the model of a choice. Raises ModelUnavailable."""
        if isinstance(choice, ModelId):
            model = self.models.get(choice.model_id)
            if model is None or not self._usable(model):
                raise ModelUnavailable(
                    f"the model {choice.model_id} is unknown or inactive", model_id=choice.model_id
                )
            return model
        found = [model for model in self.models.values() if self._serves(model, choice)]
        if not found:
            raise ModelUnavailable(
                f"{choice.provider_id} has no active model of the class {choice.model_class}",
                provider_id=choice.provider_id,
                model_class=choice.model_class,
            )
        return max(found, key=lambda model: (model.set_in_version, model.id))

    def price(self, model_id: str, moment: datetime, prompt_tokens: int = 0) -> Price | None:
        """Return the price row for a prompt of this length at this moment, if there is one."""
        return price_at(self.prices.get(model_id, ()), moment, prompt_tokens)

    def _serves(self, model: Model, wanted: ModelClass) -> bool:
        of_class = (model.provider_id, model.model_class) == (
            wanted.provider_id,
            wanted.model_class,
        )
        return of_class and self._usable(model)

    def _usable(self, model: Model) -> bool:
        provider = self.providers.get(model.provider_id)
        return model.active and provider is not None and provider.active
