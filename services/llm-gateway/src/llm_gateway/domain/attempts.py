"""Attempts: one HTTP request to a provider each, what it reserves, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from llm_gateway.domain.provider_errors import ProviderError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from llm_gateway.domain.models import Resolution
    from llm_gateway.domain.usage import Usage


class CallState(StrEnum):
    """The state of a call, or of one attempt of it (drawn in `llm_gateway.app`)."""

    RESERVED = "reserved"
    DISPATCHED = "dispatched"
    SETTLED = "settled"
    FAILED = "failed"
    UNKNOWN = "unknown"


class UnusableReply(StrEnum):
    """Why a whole reply cannot be used, and the same request would get the same again."""

    INCOMPLETE = "incomplete"
    EMPTY = "empty"
    REPEATED = "repeated"
    """The same unusable text as that of an earlier attempt."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """What an attempt reserves in the ledger: model, token limit, estimated input and cost."""

    resolution: Resolution
    max_output_tokens: int
    """Reasoning included."""
    estimated_tokens: int
    estimated_micro_usd: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """The error that a caller received when no further attempt followed, kept to be repeated."""

    reason: str
    message: str
    metadata: Mapping[str, str]
    request_id: str
    """The refused request's `x-request-id`: a proxy that repeats the request keeps it."""


@dataclass(frozen=True, slots=True)
class KeyBackoff:
    """How long nothing more is sent under a key, and the error that callers get meanwhile."""

    seconds: float
    refusal: Refusal | None
    """None between two attempts of one round."""


@dataclass(frozen=True, slots=True)
class AttemptUsage:
    """What an attempt in flight has used so far, estimated where the provider has not reported."""

    call_id: int
    attempt: int
    usage: Usage
    cost_micro_usd: int


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """What became of an attempt, as its row will say."""

    state: CallState
    price_id: str
    usage: Usage
    cost_micro_usd: int
    estimated: bool
    http_status: int = 0
    provider_request_id: str = ""
    error: str = ""
    """In the gateway's own words; never the provider's body."""
    note: str = ""
    """Why usage or cost are estimates, and what was omitted from the request."""
    cut_at_tokens: int | None = None
    """The limit on output tokens that cut the reply off and so made it unusable."""
    reply_refused: bool = False
    """Whether the model or the provider declined, and the reply is unusable for that."""
    unusable: UnusableReply | None = None
    """Any other reason why the reply is unusable."""
    reply_digest: str = ""
    """The sha256 of a whole, unusable reply after which another attempt may follow; else empty."""
    provider_error: ProviderError = field(default_factory=ProviderError)
    """The provider's own words about its error or an unusual end; scrubbed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallAttempt:
    """One attempt of a call, as the ledger holds it. Fields as in AttemptResult."""

    number: int
    state: CallState
    model_id: str
    provider_request_id: str
    http_status: int
    error: str
    usage: Usage
    cost_micro_usd: int
    estimated: bool
    dispatched_at: datetime
    ended_at: datetime | None
    note: str = ""
    cut_at_tokens: int | None = None
    reply_refused: bool = False
    unusable: UnusableReply | None = None
    reply_digest: str = ""
    provider_error: ProviderError = field(default_factory=ProviderError)
    retry_at: datetime | None = None
    """Nothing more is sent under the key before this moment."""
    refusal: Refusal | None = None
    """The error that the caller received, where no further attempt followed by itself."""

    def would_repeat(self, reservation: Reservation) -> bool:
        """Whether a reserved attempt would pay for an unusable reply again, as this one did."""
        if self.model_id != reservation.resolution.model_id:
            return False
        if self.unusable is not None or self.reply_refused:
            return True
        limit = self.cut_at_tokens
        return limit is not None and limit >= reservation.max_output_tokens
