"""Calls, as the ledger holds them: a key, the request's digest, and the attempts made for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llm_gateway.domain.attempts import CallState, UnusableReply

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from llm_gateway.domain.attempts import CallAttempt, Reservation
    from llm_gateway.domain.models import Resolution
    from llm_gateway.domain.usage import FinishReason, Usage


@dataclass(frozen=True, slots=True)
class CallKey:
    """The idempotency key of a call: what is asked under one key is paid at most once."""

    run_id: UUID
    step: str
    item: int
    visit: int
    call: int

    @property
    def file_name(self) -> str:
        """The reply's file, relative to the folder of its step."""
        return f"artifacts/{self.item}-{self.visit}/call-{self.call}.json"

    def path(self, tenant_id: str) -> str:
        """Return the path of the reply's file in the artifacts service."""
        return f"storage/{tenant_id}/{self.run_id}/{self.step}/{self.file_name}"

    def __str__(self) -> str:
        return f"{self.run_id}/{self.step}/{self.item}-{self.visit}/{self.call}"


@dataclass(frozen=True, slots=True)
class CallOutput:
    """The reply of a settled call."""

    path: str
    """Where it is a file of the artifacts service; empty where it lies beside the call."""
    digest: str
    summary: str
    finish_reason: FinishReason


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of a reply's text, and its offset in characters."""

    attempt: int
    offset: int
    text: str


@dataclass(frozen=True, slots=True)
class CallLease:
    """The right of one piece of work in one process to send a call, until it expires."""

    owner: str
    endpoint: str
    """The address at which the owner's process can be reached."""
    seconds: float
    """The lease's duration, counted anew with each renewal."""


@dataclass(frozen=True, slots=True)
class LlmCall:
    """One call of the ledger. Its usage and cost are the sums over its attempts."""

    id: int
    key: CallKey
    state: CallState
    lease_owner: str | None
    lease_live: bool
    """Whether the lease has not expired, so that some process is working on the call."""
    request_digest: str
    resolution: Resolution
    usage: Usage
    cost_micro_usd: int
    output: CallOutput | None
    user_id: str
    created_at: datetime
    ended_at: datetime | None
    read_at: datetime
    """When the row was read, on the clock of its database."""
    attempts: tuple[CallAttempt, ...]

    def held_by(self, lease: CallLease) -> bool:
        """Whether the call is held under a lease, expired or not."""
        return self.lease_owner == lease.owner

    def held_against(self, lease: CallLease) -> bool:
        """Whether the call is held under a live lease of another owner."""
        return self.lease_live and not self.held_by(lease)

    @property
    def abandoned(self) -> bool:
        """Whether it has no reply, and no process holds it to get one."""
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
        """The number of the attempt that is recorded as dispatched; 0 when none is."""
        return self._last_in(CallState.DISPATCHED)

    @property
    def unknown_attempt(self) -> int:
        """The number of the latest attempt whose outcome is unknown; 0 when there is none."""
        return self._last_in(CallState.UNKNOWN)

    @property
    def attempts_in_round(self) -> int:
        """How many attempts its latest round has; a refusal ends a round."""
        over = max((a.number for a in self.attempts if a.refusal is not None), default=0)
        return sum(attempt.number > over for attempt in self.attempts)

    @property
    def backoff_seconds(self) -> float:
        """How long nothing more may be sent, counted from when the row was read."""
        retry_at = self.attempts[-1].retry_at if self.attempts else None
        return 0.0 if retry_at is None else max((retry_at - self.read_at).total_seconds(), 0.0)

    def unusable_attempt(self, reservation: Reservation) -> CallAttempt | None:
        """Return the latest attempt whose reply was unusable, as a reserved one's would be.

        One bad reply may be chance; the same text from the same model a second time is not.
        """
        unusable = [attempt for attempt in self.attempts if attempt.would_repeat(reservation)]
        if unusable:
            return unusable[-1]
        seen: set[str] = set()
        for attempt in self.attempts:
            if attempt.reply_digest and attempt.model_id == reservation.resolution.model_id:
                if attempt.reply_digest in seen:
                    return replace(attempt, unusable=UnusableReply.REPEATED)
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
