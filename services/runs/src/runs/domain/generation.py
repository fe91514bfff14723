"""A step's request to a model, its result, and what that used and cost."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jsonvalues import JsonMapping
    from nagaya_functions import FilePointer
    from runs.domain.activities import StepRef
    from runs.domain.models import ModelChoice


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A rendered prompt, in parts of text and pointers, and how it is to be answered."""

    ref: StepRef
    parts: tuple[str | FilePointer, ...]
    model: ModelChoice | None
    run_model: ModelChoice | None
    max_output_tokens: int
    output_schema: JsonMapping | None
    redo_unknown: bool
    allow_empty: bool
    files: tuple[bytes, ...] = ()
    """Those of the files that parts point to whose bytes are known."""
    call: int = 1
    """The number of the call: each attempt at a step makes the same, but for retries that ask for
    another."""


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens that a call used."""

    input_tokens: int
    """Cached ones included."""
    output_tokens: int
    """Reasoning included."""
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int


@dataclass(frozen=True, slots=True)
class CallUsage:
    """What a call used and cost, all its attempts together, and which model answered."""

    llm_model: str
    """`provider/model`."""
    model_rule: str
    tokens: TokenUsage
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
    """Whether calls are still in flight."""


class FinishReason(StrEnum):
    """Why a reply ended."""

    STOP = "stop"
    LENGTH = "length"
    """A limit on output tokens, reasoning included."""
    REFUSAL = "refusal"
    """The model or its provider declined."""
    UNKNOWN = "unknown"
    """One that the gateway does not know, or that is new here."""


@dataclass(frozen=True, slots=True)
class GenerationResult:
    """A settled call: its reply, why that ended, and what it cost."""

    reply: bytes
    """The reply, one JSON object; empty when it has more than 3 MiB, or is only in `file`."""
    digest: str
    """The sha256 of the reply."""
    file: FilePointer | None
    """The content of the reply, where that is a file, as llm-gateway stored it before."""
    finish_reason: FinishReason
    usage: CallUsage
