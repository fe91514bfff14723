"""What a step asks a model, and what it hears."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jsonvalues import JsonMapping
    from runs.domain.models import ModelChoice
    from runs.domain.outputs import FilePointer
    from runs.domain.work import Work


@dataclass(frozen=True, slots=True)
class Question:
    """A rendered prompt, in pieces of text and pointers, and how it is to be answered."""

    work: Work
    parts: tuple[str | FilePointer, ...]
    model: ModelChoice | None
    run_model: ModelChoice | None
    max_output_tokens: int
    output_schema: JsonMapping | None
    redo_unknown: bool
    allow_empty: bool


@dataclass(frozen=True, slots=True)
class Usage:
    input_tokens: int
    """Cached ones included."""
    output_tokens: int
    """Reasoning included."""
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int


@dataclass(frozen=True, slots=True)
class Spent:
    """What a call used and cost, all its attempts together, and who answered."""

    llm_model: str
    """`provider/model`."""
    model_rule: str
    usage: Usage
    cost_micro_usd: int


@dataclass(frozen=True, slots=True)
class RunUsage:
    """What all calls of a run used and cost, as the ledger says."""

    run_id: str
    input_tokens: int
    """Cached ones included."""
    output_tokens: int
    """Reasoning included."""
    cost_micro_usd: int
    calls_open: bool
    """Whether calls are in flight, so that it will be more."""


class Ending(StrEnum):
    """How a reply ended."""

    DONE = "done"
    CUT = "cut"
    """At a limit on output tokens, reasoning included."""
    REFUSED = "refused"
    """The model or its provider declined."""
    UNKNOWN = "unknown"
    """In a way that the gateway does not know, or that is new here."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A settled call: where its reply lies, how that ended, and what it cost."""

    reply: FilePointer
    ending: Ending
    spent: Spent
