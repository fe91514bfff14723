"""Who may try again, how often and when. Nobody below this or beside it retries."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from llm_gateway.domain.requests import UnknownPolicy
from llm_gateway.errors import (
    CallOutcomeUnknown,
    ProviderLimited,
    ProviderRefused,
    ProviderUnavailable,
    ReplyCut,
    ReplyEmpty,
    ReplyIncomplete,
    ReplyInvalid,
    ReplyRefused,
)
from llm_gateway.providers.wire_format import Fault, ProviderFault

if TYPE_CHECKING:
    from servicekit.errors import DomainError

MAX_ATTEMPTS = 3
_FIRST_DELAY = 0.5
_LAST_DELAY = 8.0
_RATIO = 0.1
_KINDS: dict[Fault, type[DomainError]] = {
    Fault.REFUSED: ProviderRefused,
    Fault.LIMITED: ProviderLimited,
    Fault.EXHAUSTED: ProviderLimited,
    Fault.MALFORMED: ReplyInvalid,
    Fault.CUT: ReplyCut,
    Fault.DECLINED: ReplyRefused,
    Fault.INCOMPLETE: ReplyIncomplete,
    Fault.EMPTY: ReplyEmpty,
}


class RetryBudget:
    """Lets one call in ten be repeated, and a reserve of some more after quiet times.

    So a provider that fails altogether is asked hardly more often than one that works.
    """

    def __init__(self, reserve: float) -> None:
        self._reserve = reserve
        self._left: dict[str, float] = {}

    def earn(self, provider_id: str) -> None:
        """Count a call's first attempt."""
        left = self._left.get(provider_id, self._reserve)
        self._left[provider_id] = min(left + _RATIO, self._reserve)

    def spend(self, provider_id: str) -> bool:
        """Take one repetition; tell whether there was one."""
        left = self._left.get(provider_id, self._reserve)
        if left < 1:
            return False
        self._left[provider_id] = left - 1
        return True


class Retries:
    def __init__(self, budget: RetryBudget) -> None:
        self._budget = budget

    def began(self, provider_id: str) -> None:
        """Count a call that is sent for the first time."""
        self._budget.earn(provider_id)

    def delay(
        self,
        fault: ProviderFault,
        tried: int,
        provider_id: str,
        policy: UnknownPolicy,
        deadline: float,
    ) -> float | None:
        """Return in how many seconds to try again; None for not at all.

        `tried` counts the attempts so far. A provider's Retry-After is never undercut, and nothing
        is begun after the deadline (on the clock of time.monotonic).
        """
        redo = fault.fault is Fault.LOST and policy is UnknownPolicy.REDO
        if tried >= MAX_ATTEMPTS or not (fault.retryable or redo):
            return None
        backoff = min(_FIRST_DELAY * 2 ** (tried - 1), _LAST_DELAY)
        seconds = max(backoff * random.uniform(0.5, 1), fault.retry_after or 0.0)  # noqa: S311 - a jitter
        if time.monotonic() + seconds >= deadline:
            return None
        return seconds if self._budget.spend(provider_id) else None


def error_of(
    fault: ProviderFault, number: int, tried: int, provider_id: str, policy: UnknownPolicy
) -> DomainError:
    """Return what a caller is told when nothing more is tried."""
    if fault.fault is Fault.LOST and policy is UnknownPolicy.FAIL:
        return CallOutcomeUnknown(number)
    error = _KINDS.get(fault.fault, ProviderUnavailable)(f"{provider_id}: {fault.words}")
    error.metadata |= {"provider_id": provider_id, "http_status": str(fault.status)}
    error.metadata |= {"attempt": str(number), "attempts": str(tried)}
    if fault.cut_at_tokens is not None:
        error.metadata["limit_tokens"] = str(fault.cut_at_tokens)
    if fault.retry_after is not None:
        error.metadata["retry_after_ms"] = str(round(fault.retry_after * 1000))
    return error
