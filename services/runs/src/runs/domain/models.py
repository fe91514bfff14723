"""Which model a step asks, where somebody chose."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class ModelClass:
    """Any active model of a class at a provider."""

    provider_id: str
    model_class: str


@dataclass(frozen=True, slots=True)
class ModelById:
    """One model by its id in the catalogue."""

    model_id: str


ModelChoice = ModelClass | ModelById


def model_json(choice: ModelChoice) -> dict[str, str]:
    return asdict(choice)


def model_choice(content: Mapping[str, str]) -> ModelChoice:
    """Return the choice that `model_json` was called with."""
    return ModelById(**content) if "model_id" in content else ModelClass(**content)
