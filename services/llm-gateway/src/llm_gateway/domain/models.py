"""Providers, models, and which step uses which."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from datetime import datetime


class WireFormat(StrEnum):
    """The wire format of a provider's API."""

    CLAUDE_MESSAGES = "claude_messages"
    OPENAI_RESPONSES = "openai_responses"
    OPENAI_CHAT = "openai_chat"
    GEMINI_GENERATE_CONTENT = "gemini_generate_content"


@dataclass(frozen=True, slots=True)
class Provider:
    """A company that serves models."""

    id: str
    display_name: str
    api_base_url: str
    """Empty for the provider's own address."""
    active: bool
    wire_format: WireFormat


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a model can do."""

    max_output_tokens: int
    """Reasoning included."""
    max_input_tokens: int
    json_schema: bool
    temperature: bool
    reasoning_headroom_tokens: int
    """Added to a request's token limit, because providers count reasoning as output."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model of a provider."""

    id: str
    provider_id: str
    name: str
    model_class: str
    active: bool
    capabilities: Capabilities
    set_in_version: int = 0
    """The catalogue's version that set it: among models of one class the latest is used."""


@dataclass(frozen=True, slots=True)
class ModelClass:
    """Any active model of a class at a provider."""

    provider_id: str
    model_class: str


@dataclass(frozen=True, slots=True)
class ModelId:
    """One model by its id in the catalogue."""

    model_id: str


ModelChoice: TypeAlias = ModelClass | ModelId


@dataclass(frozen=True, slots=True)
class StepDefault:
    """The model class that a step uses unless something nearer says otherwise."""

    step: str
    model_class: ModelClass


@dataclass(frozen=True, slots=True)
class StepOverride:
    """The model class that a step uses for one tenant."""

    step: str
    model_class: ModelClass
    updated_at: datetime


class ResolutionRule(StrEnum):
    """The rule that chose a model. The first that applies wins, in this order."""

    REQUEST = "request"
    RUN = "run"
    TENANT_OVERRIDE = "tenant_override"
    STEP_DEFAULT = "step_default"


@dataclass(frozen=True, slots=True)
class Resolution:
    """Which model serves a step, and why."""

    provider_id: str
    model_id: str
    model_name: str
    model_class: str
    rule: ResolutionRule
    price_id: str
    """Empty when the model has no price."""
    catalog_version: int
