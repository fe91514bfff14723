"""Requests for replies, independent of any provider's wire format."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

from jsonvalues import canonical
from llm_gateway.domain.models import ModelChoice, ModelClass

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jsonvalues import Json
    from llm_gateway.domain.calls import CallKey
    from llm_gateway.domain.schemas import OutputSchema


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of inline text."""

    text: str


@dataclass(frozen=True, slots=True)
class FilePointer:
    """A file by path and digest, or the JSON value at a JSON pointer inside it."""

    path: str
    digest: str
    json_pointer: str


Part: TypeAlias = Text | FilePointer


class Role(StrEnum):
    """The author of a turn."""

    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of the conversation."""

    role: Role
    parts: tuple[Part, ...]


class UnknownPolicy(StrEnum):
    """What to do when the outcome of an earlier attempt is unknown, so that it may be paid."""

    FAIL = "fail"
    REDO = "redo"


@dataclass(frozen=True, slots=True)
class ModelNeeds:
    """The capabilities that a request needs of its model."""

    max_output_tokens: int
    """Of the visible reply; 0 for the model's own limit."""
    json_schema: bool
    temperature: bool


@dataclass(frozen=True)
class CallRequest:
    """One request for a reply: who asks, under which key, what of which model."""

    tenant_id: str
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
    """Whether a reply without a visible character is accepted."""
    user_id: str = ""
    request_id: str = ""
    """The `x-request-id` with which it came."""
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    """Files that need not be read, by their sha256. They are no part of what is asked."""

    @cached_property
    def digest(self) -> str:
        """The sha256 over everything that is asked.

        Key, policy and caller are left out: how to treat an earlier attempt may differ between two
        requests for the same reply.
        """
        schema = self.output_schema
        content: Json = {
            "system": [_part(part) for part in self.system],
            "messages": [[m.role, [_part(part) for part in m.parts]] for m in self.messages],
            "model": _choice(self.model),
            "run_model": _choice(self.run_model),
            "max_output_tokens": self.max_output_tokens,
            "temperature": self.temperature,
            "output_schema": None if schema is None else schema.definition,
            **({"allow_empty": True} if self.allow_empty else {}),
        }
        return hashlib.sha256(canonical(content, ascii_only=True)).hexdigest()

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


class SchemaMode(StrEnum):
    """How a model gets an output schema. Each mode is tried after the one before was refused."""

    STRICT = "strict"
    """As a parameter that the provider enforces as far as it can."""
    LENIENT = "lenient"
    """As a parameter that the provider does not enforce."""
    IN_PROMPT = "in_prompt"
    """As text in the system prompt."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn, its parts joined to one text."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a provider is sent: joined texts and resolved limits."""

    model_name: str
    system: str
    turns: tuple[Turn, ...]
    max_output_tokens: int
    """Reasoning included."""
    temperature: float | None
    output_schema: OutputSchema | None
    utf8_bytes: int
    """The size of all texts together."""
    schema_mode: SchemaMode = SchemaMode.STRICT


def _part(part: Part) -> Json:
    if isinstance(part, Text):
        return ["text", part.text]
    return ["pointer", part.path, part.digest, part.json_pointer]


def _choice(choice: ModelChoice | None) -> Json:
    if isinstance(choice, ModelClass):
        return ["class", choice.provider_id, choice.model_class]
    return None if choice is None else ["id", choice.model_id]
