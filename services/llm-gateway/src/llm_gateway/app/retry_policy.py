"""Whether another attempt follows a failed one, and when. Nothing else in the service retries."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llm_gateway.domain.requests import UnknownPolicy
from llm_gateway.errors import (
    CallOutcomeUnknown,
    ProviderDeclines,
    ProviderExhausted,
    ProviderLimited,
    ProviderRefused,
    ProviderUnavailable,
    ReplyCut,
    ReplyEmpty,
    ReplyIncomplete,
    ReplyInvalid,
    ReplyRefused,
)
from llm_gateway.ledger.backoff import FINAL, MAX_ATTEMPTS, with_retry_after
from llm_gateway.providers.wire_format import FailureKind, ProviderFault

if TYPE_CHECKING:
    from servicekit.errors import DomainError

LONGEST_DELAY = 30.0
"""The most seconds that a call waits here; a caller can wait longer without taking a place."""

_FIRST_DELAY = 0.5
_LAST_DELAY = 8.0
_RATIO = 0.1
_LONGEST_BACKOFF = 31 * 86_400.0  # a monthly limit is over by then; more is not meant
_AWAY = (
    FailureKind.NEVER_SENT,
    FailureKind.UNAVAILABLE,
    FailureKind.LIMITED,
    FailureKind.EXHAUSTED,
)
_ERRORS: dict[FailureKind, type[DomainError]] = {
    FailureKind.REFUSED: ProviderRefused,
    FailureKind.LIMITED: ProviderLimited,
    FailureKind.EXHAUSTED: ProviderExhausted,
    FailureKind.MALFORMED: ReplyInvalid,
    FailureKind.CUT: ReplyCut,
    FailureKind.DECLINED: ReplyRefused,
    FailureKind.INCOMPLETE: ReplyIncomplete,
    FailureKind.EMPTY: ReplyEmpty,
}


class RetryBudget:
    """Allows one retry for ten calls to a provider, and some more from a reserve.

    So a provider that fails altogether gets hardly more requests than one that works.
    """

    def __init__(self, reserve: float) -> None:
        self._reserve = reserve
        self._balances: dict[str, float] = {}

    def balances(self) -> dict[str, float]:
        """Return how many retries there are now, by provider."""
        return dict(self._balances)

    def deposit(self, provider_id: str) -> None:
        """Count a call's first attempt."""
        balance = self._balances.get(provider_id, self._reserve)
        self._balances[provider_id] = min(balance + _RATIO, self._reserve)

    def withdraw(self, provider_id: str) -> bool:
        """Take one retry; return whether there was one."""
        balance = self._balances.get(provider_id, self._reserve)
        if balance < 1:
            return False
        self._balances[provider_id] = balance - 1
        return True


@dataclass(frozen=True, slots=True)
class RetryDecision:
    """What follows a failed attempt."""

    delay_seconds: float | None
    """How long to wait before another attempt; None when none follows."""
    why: str = ""
    """Why none follows, where the fault itself does not say it."""


class RetryPolicy:
    """Decides within a round of attempts, and how long a key backs off after one."""

    def __init__(self, budget: RetryBudget, backoff_seconds: float) -> None:
        self._budget = budget
        self._backoff_seconds = backoff_seconds

    def count_call(self, provider_id: str) -> None:
        """Count a call that is sent for the first time."""
        self._budget.deposit(provider_id)

    def decide(
        self,
        fault: ProviderFault,
        attempts: int,
        provider_id: str,
        policy: UnknownPolicy,
        deadline: float,
    ) -> RetryDecision:
        """Decide whether another attempt follows; `attempts` counts those of the round so far.

        A provider's Retry-After is never undercut, and nothing begins after the deadline (on the
        clock of time.monotonic).
        """
        redo = fault.kind is FailureKind.LOST and policy is UnknownPolicy.REDO
        if attempts >= MAX_ATTEMPTS or not (fault.retryable or redo):
            return RetryDecision(None)
        delay = min(_FIRST_DELAY * 2 ** (attempts - 1), _LAST_DELAY)
        seconds = max(delay * random.uniform(0.5, 1), fault.retry_after or 0.0)  # noqa: S311 - a jitter
        if seconds > LONGEST_DELAY or time.monotonic() + seconds >= deadline:
            return RetryDecision(None)
        if not self._budget.withdraw(provider_id):
            return RetryDecision(
                None, f"not repeated, because too many calls to {provider_id} failed lately"
            )
        return RetryDecision(seconds)

    def backoff_seconds(self, fault: ProviderFault, policy: UnknownPolicy) -> float:
        """Return how long nothing is sent under a key after the last attempt of a round.

        At least what the provider asks for, up to a month. 0 for faults whose error no proxy
        repeats, because they do not mean that the provider is away.
        """
        redo = fault.kind is FailureKind.LOST and policy is UnknownPolicy.REDO
        if fault.kind not in _AWAY and not redo:
            return 0.0
        return min(max(self._backoff_seconds, fault.retry_after or 0.0), _LONGEST_BACKOFF)


def error_for(
    fault: ProviderFault,
    number: int,
    attempts: int,
    provider_id: str,
    policy: UnknownPolicy,
    *,
    backoff: float = 0.0,
    why: str = "",
) -> DomainError:
    """Return the error with which a call ends after a fault; `backoff` is in seconds."""
    if fault.kind is FailureKind.LOST and policy is UnknownPolicy.FAIL:
        return CallOutcomeUnknown(number)
    message = f"{fault.message}; {why}" if why else fault.message
    final = fault.kind is FailureKind.EXHAUSTED or (fault.final and fault.retry_after is None)
    error = _error_type(fault, final=final)(f"{provider_id}: {message}")
    error.metadata |= {"provider_id": provider_id, "http_status": str(fault.status)}
    error.metadata |= {"attempt": str(number), "attempts": str(attempts)}
    if fault.cut_at_tokens is not None:
        error.metadata["limit_tokens"] = str(fault.cut_at_tokens)
    if final:
        error.metadata[FINAL] = "true"
    return with_retry_after(error, backoff)


def _error_type(fault: ProviderFault, *, final: bool) -> type[DomainError]:
    kind = _ERRORS.get(fault.kind, ProviderUnavailable)
    if final and kind is ProviderLimited:
        return ProviderExhausted
    return ProviderDeclines if final and kind is ProviderUnavailable else kind
