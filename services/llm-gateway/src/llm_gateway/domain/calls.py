"""Calls as the ledger holds them: a key, what was asked, what became of each attempt."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from llm_gateway.domain.provider_errors import ProviderError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from uuid import UUID

    from llm_gateway.domain.models import Resolution
    from llm_gateway.domain.usage import FinishReason, Usage


class CallState(StrEnum):
    """Where a call, or one attempt of it, is in its life."""

    RESERVED = "reserved"
    DISPATCHED = "dispatched"
    SETTLED = "settled"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Useless(StrEnum):
    """Why the reply to a request is of no use, and would be so again."""

    INCOMPLETE = "incomplete"
    EMPTY = "empty"
    REPEATED = "repeated"
    """The same text as that of an attempt before, and as little of use."""


@dataclass(frozen=True, slots=True)
class CallKey:
    """Which call of which piece of work: the key under which a call is paid at most once."""

    run_id: UUID
    step: str
    item: int
    visit: int
    call: int

    @property
    def file_name(self) -> str:
        """The reply's file, within the folder of its step."""
        return f"artifacts/{self.item}-{self.visit}/call-{self.call}.json"

    def path(self, tenant_id: str) -> str:
        """Return where the reply lies."""
        return f"storage/{tenant_id}/{self.run_id}/{self.step}/{self.file_name}"

    def __str__(self) -> str:
        return f"{self.run_id}/{self.step}/{self.item}-{self.visit}/{self.call}"


@dataclass(frozen=True, slots=True)
class Output:
    """A stored reply."""

    path: str
    digest: str
    summary: str
    finish_reason: FinishReason


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a caller was told when no more attempts followed, to be told again."""

    reason: str
    message: str
    metadata: Mapping[str, str]
    request_id: str
    """The request that was refused: a proxy that repeats it keeps its id."""


@dataclass(frozen=True, slots=True)
class Bound:
    """For how long nothing more is sent under a key, and what is told meanwhile."""

    seconds: float
    refusal: Refusal | None
    """None while more attempts follow by themselves."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One HTTP request to a provider."""

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
    """Why usage or cost are estimates, and what was left out of the request."""
    cut_at_tokens: int | None = None
    """The limit on output tokens that cut the reply off, where that made it useless."""
    reply_refused: bool = False
    """Whether the model or the provider declined, where that made the reply useless."""
    useless: Useless | None = None
    """Why else the reply is of no use."""
    reply_digest: str = ""
    """The sha256 of a whole reply that could not be used and may be tried again; else empty."""
    told: ProviderError = field(default_factory=ProviderError)
    """What the provider said of its error, or of an unusual end."""
    retry_at: datetime | None = None
    """Before this moment nothing more is sent under the key."""
    refusal: Refusal | None = None
    """What the caller was told, where no more attempts followed by themselves."""

    def useless_again(self, plan: Plan) -> bool:
        """Whether a planned attempt would be paid for a reply of no use, as this one was."""
        if self.model_id != plan.resolution.model_id:
            return False
        cut_at = self.cut_at_tokens
        if self.useless is not None:
            return True
        return self.reply_refused or (cut_at is not None and cut_at >= plan.max_output_tokens)


@dataclass(frozen=True, slots=True)
class Plan:
    """How the next attempt would be made: model and limit, and what its input is estimated at."""

    resolution: Resolution
    max_output_tokens: int
    """Reasoning included."""
    estimated_tokens: int
    estimated_micro_usd: int


@dataclass(frozen=True, slots=True)
class Ending:
    """What became of an attempt."""

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
    """Why usage or cost are estimates, and what was left out of the request."""
    cut_at_tokens: int | None = None
    """The limit on output tokens that cut the reply off, where that made it useless."""
    reply_refused: bool = False
    """Whether the model or the provider declined, where that made the reply useless."""
    useless: Useless | None = None
    """Why else the reply is of no use."""
    reply_digest: str = ""
    """The sha256 of a whole reply that could not be used and may be tried again; else empty."""
    told: ProviderError = field(default_factory=ProviderError)
    """What the provider said of its error, or of an unusual end; scrubbed."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What an attempt has used so far, estimated where its provider has not told yet."""

    call_id: int
    attempt: int
    usage: Usage
    cost_micro_usd: int


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of a reply, and where it begins, in characters."""

    attempt: int
    offset: int
    text: str


@dataclass(frozen=True, slots=True)
class Lease:
    """Which piece of work of this process holds a call, and where the process is reached."""

    owner: str
    endpoint: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the ledger. Its usage and cost are those of all its attempts together."""

    id: int
    key: CallKey
    state: CallState
    lease_owner: str | None
    lease_live: bool
    """Whether some process is at work on it, or was a moment ago."""
    request_digest: str
    resolution: Resolution
    usage: Usage
    cost_micro_usd: int
    output: Output | None
    user_id: str
    created_at: datetime
    ended_at: datetime | None
    read_at: datetime
    """When the ledger was read, on the clock of its database."""
    attempts: tuple[Attempt, ...]

    def held_by(self, lease: Lease) -> bool:
        """Whether a piece of work holds the call, however long ago its lease ran out."""
        return self.lease_owner == lease.owner

    def held_against(self, lease: Lease) -> bool:
        """Whether another piece of work is at work on it, or was a moment ago."""
        return self.lease_live and not self.held_by(lease)

    @property
    def given_up(self) -> bool:
        """Whether it has no reply, and nobody to get it one."""
        return self.lease_owner is None and self.state is not CallState.SETTLED

    @property
    def reply_attempt(self) -> int:
        """The number of the attempt whose reply is stored; 0 when none is."""
        return self._last_in(CallState.SETTLED)

    @property
    def last_attempt(self) -> int:
        """The number of the latest attempt; 0 when there is none."""
        return self.attempts[-1].number if self.attempts else 0

    @property
    def open_attempt(self) -> int:
        """The number of the attempt that has been sent, or was about to be; 0 when none is."""
        return self._last_in(CallState.DISPATCHED)

    @property
    def unknown_attempt(self) -> int:
        """The number of the latest attempt whose outcome nobody knows; 0 when there is none."""
        return self._last_in(CallState.UNKNOWN)

    @property
    def tried(self) -> int:
        """How many attempts its latest round has; with a refusal a round is over."""
        over = max((a.number for a in self.attempts if a.refusal is not None), default=0)
        return sum(attempt.number > over for attempt in self.attempts)

    @property
    def pause_seconds(self) -> float:
        """For how long nothing more may be sent, as of when the ledger was read."""
        retry_at = self.attempts[-1].retry_at if self.attempts else None
        return 0.0 if retry_at is None else max((retry_at - self.read_at).total_seconds(), 0.0)

    def useless_attempt(self, plan: Plan) -> Attempt | None:
        """Return the latest attempt whose reply was of no use, as a planned one's would be.

        One bad reply may be chance. The same from the same model a second time is none.
        """
        useless = [attempt for attempt in self.attempts if attempt.useless_again(plan)]
        if useless:
            return useless[-1]
        seen: set[str] = set()
        for attempt in self.attempts:
            if attempt.reply_digest and attempt.model_id == plan.resolution.model_id:
                if attempt.reply_digest in seen:
                    return replace(attempt, useless=Useless.REPEATED)
                seen.add(attempt.reply_digest)
        return None

    def _last_in(self, state: CallState) -> int:
        return max((a.number for a in self.attempts if a.state is state), default=0)


@dataclass(frozen=True, slots=True)
class RunUsage:
    """What the calls of a run used and cost, all their attempts together."""

    calls: int
    open_calls: int
    """How many are held by some process: what they use is added once they have ended."""
    usage: Usage
    cost_micro_usd: int
