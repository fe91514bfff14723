"""Choices of models, and what steps need of them."""

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


@dataclass(frozen=True, slots=True)
class ModelRequirement:
    """What an llm step asks of its model."""

    step: str
    model: ModelChoice | None
    """The pipeline's own choice for the step."""
    max_output_tokens: int
    """Of the reply; 0 for the model's own limit."""
    json_schema: bool


@dataclass(frozen=True, slots=True)
class ModelFault:
    """Why a step gets no model that can do its work."""

    step: str
    reason: str
    """The llm-gateway's."""
    description: str


def model_json(choice: ModelChoice) -> dict[str, str]:
    return asdict(choice)


def model_choice(content: Mapping[str, str]) -> ModelChoice:
    """Return the choice that `model_json` was called with."""
    return ModelById(**content) if "model_id" in content else ModelClass(**content)
