"""What a model is asked, in no provider's terms."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

from jsonvalues import canonical
from llm_gateway.domain.models import ModelChoice, ModelClass

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jsonvalues import Json
    from llm_gateway.domain.calls import CallKey
    from llm_gateway.domain.schemas import OutputSchema


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of text, given."""

    text: str


@dataclass(frozen=True, slots=True)
class Pointer:
    """A file, or a JSON value inside one, by what the file must contain."""

    path: str
    digest: str
    json_pointer: str


Part: TypeAlias = Text | Pointer


class Role(StrEnum):
    """Who speaks."""

    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of the conversation."""

    role: Role
    parts: tuple[Part, ...]


class UnknownPolicy(StrEnum):
    """What to do when an earlier attempt may have been charged."""

    FAIL = "fail"
    REDO = "redo"


@dataclass(frozen=True, slots=True)
class ModelNeeds:
    """What a request asks of its model, apart from its text."""

    max_output_tokens: int
    """Of the visible reply; 0 for the model's own limit."""
    json_schema: bool
    temperature: bool


@dataclass(frozen=True, slots=True)
class GenerationSpec:
    """A request for one reply."""

    key: CallKey
    system: tuple[Part, ...]
    messages: tuple[Message, ...]
    model: ModelChoice | None
    run_model: ModelChoice | None
    max_output_tokens: int
    """Of the visible reply; 0 for the model's own limit."""
    temperature: float | None
    output_schema: OutputSchema | None
    unknown_policy: UnknownPolicy
    allow_empty: bool = False
    """Whether a reply without a visible character is one."""

    def digest(self) -> str:
        """Return the sha256 over everything that is asked.

        The key and the policy are left out: what is to be done about an earlier attempt may differ
        between two requests for the same reply.
        """
        schema = self.output_schema
        asked: Json = {
            "system": [_part(part) for part in self.system],
            "messages": [[m.role, [_part(part) for part in m.parts]] for m in self.messages],
            "model": _choice(self.model),
            "run_model": _choice(self.run_model),
            "max_output_tokens": self.max_output_tokens,
            "temperature": self.temperature,
            "output_schema": None if schema is None else schema.definition,
            **({"allow_empty": True} if self.allow_empty else {}),
        }
        return hashlib.sha256(canonical(asked, ascii_only=True)).hexdigest()

    def needs(self) -> ModelNeeds:
        return ModelNeeds(
            self.max_output_tokens,
            json_schema=self.output_schema is not None,
            temperature=self.temperature is not None,
        )

    def parts(self) -> Iterator[Part]:
        """Yield every part, in the order in which a model reads them."""
        yield from self.system
        for message in self.messages:
            yield from message.parts


class SchemaAs(StrEnum):
    """How a model is told of an output schema. Each is tried where the one before was refused."""

    RULE = "rule"
    """The provider holds the model to it, so far as it can."""
    HINT = "hint"
    """The provider is told of it, without being asked to hold the model to it."""
    WORDS = "words"
    """It stands in the system prompt."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn with its text joined."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a provider is sent: texts joined, limits worked out."""

    model_name: str
    system: str
    turns: tuple[Turn, ...]
    max_output_tokens: int
    """Reasoning included."""
    temperature: float | None
    output_schema: OutputSchema | None
    utf8_bytes: int
    """The length of all texts."""
    schema_as: SchemaAs = SchemaAs.RULE


def _part(part: Part) -> Json:
    if isinstance(part, Text):
        return ["text", part.text]
    return ["pointer", part.path, part.digest, part.json_pointer]


def _choice(choice: ModelChoice | None) -> Json:
    if isinstance(choice, ModelClass):
        return ["class", choice.provider_id, choice.model_class]
    return None if choice is None else ["id", choice.model_id]
