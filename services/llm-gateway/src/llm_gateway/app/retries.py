"""Who may try again, how often and when. Nobody below this or beside it retries."""

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
from llm_gateway.ledger.bounds import FINAL, MAX_ATTEMPTS, wait_told
from llm_gateway.providers.wire_format import Fault, ProviderFault

if TYPE_CHECKING:
    from servicekit.errors import DomainError

LONGEST_WAIT = 30.0
"""For how long a call is kept waiting in here; who asked can wait longer without a place."""

_FIRST_DELAY = 0.5
_LAST_DELAY = 8.0
_RATIO = 0.1
_LONGEST_PAUSE = 31 * 86_400.0  # a month's limit is over by then, and what asks for more is absurd
_AWAY = (Fault.NEVER_SENT, Fault.UNAVAILABLE, Fault.LIMITED, Fault.EXHAUSTED)
_KINDS: dict[Fault, type[DomainError]] = {
    Fault.REFUSED: ProviderRefused,
    Fault.LIMITED: ProviderLimited,
    Fault.EXHAUSTED: ProviderExhausted,
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


@dataclass(frozen=True, slots=True)
class Next:
    """What follows a failed attempt."""

    seconds: float | None
    """In how many seconds another is made; None for none."""
    why: str = ""
    """Why none is, where nobody could guess."""


class Retries:
    """Decides within a round of attempts, and for how long a key rests after one."""

    def __init__(self, budget: RetryBudget, pause_seconds: float) -> None:
        self._budget = budget
        self._pause_seconds = pause_seconds

    def began(self, provider_id: str) -> None:
        """Count a call that is sent for the first time."""
        self._budget.earn(provider_id)

    def after(
        self,
        fault: ProviderFault,
        tried: int,
        provider_id: str,
        policy: UnknownPolicy,
        deadline: float,
    ) -> Next:
        """Decide whether another attempt follows.

        `tried` counts the attempts so far. A provider's Retry-After is never undercut, and nothing
        is begun after the deadline (on the clock of time.monotonic).
        """
        redo = fault.fault is Fault.LOST and policy is UnknownPolicy.REDO
        if tried >= MAX_ATTEMPTS or not (fault.retryable or redo):
            return Next(None)
        backoff = min(_FIRST_DELAY * 2 ** (tried - 1), _LAST_DELAY)
        seconds = max(backoff * random.uniform(0.5, 1), fault.retry_after or 0.0)  # noqa: S311 - a jitter
        if seconds > LONGEST_WAIT or time.monotonic() + seconds >= deadline:
            return Next(None)
        if not self._budget.spend(provider_id):
            return Next(
                None, f"not repeated, because too many calls to {provider_id} failed lately"
            )
        return Next(seconds)

    def pause(self, fault: ProviderFault, policy: UnknownPolicy) -> float:
        """Return for how many seconds nothing is sent under a key after its last attempt.

        At least what the provider asks for, up to a month. 0 where nothing in front repeats it:
        what is told is no word of the provider's being away.
        """
        redo = fault.fault is Fault.LOST and policy is UnknownPolicy.REDO
        if fault.fault not in _AWAY and not redo:
            return 0.0
        return min(max(self._pause_seconds, fault.retry_after or 0.0), _LONGEST_PAUSE)


def error_of(
    fault: ProviderFault,
    number: int,
    tried: int,
    provider_id: str,
    policy: UnknownPolicy,
    *,
    pause: float = 0.0,
    why: str = "",
) -> DomainError:
    """Return what a caller is told when nothing more is tried, and nothing sent for a while."""
    if fault.fault is Fault.LOST and policy is UnknownPolicy.FAIL:
        return CallOutcomeUnknown(number)
    words = f"{fault.words}; {why}" if why else fault.words
    final = fault.fault is Fault.EXHAUSTED or (fault.final and fault.retry_after is None)
    error = _kind(fault, final=final)(f"{provider_id}: {words}")
    error.metadata |= {"provider_id": provider_id, "http_status": str(fault.status)}
    error.metadata |= {"attempt": str(number), "attempts": str(tried)}
    if fault.cut_at_tokens is not None:
        error.metadata["limit_tokens"] = str(fault.cut_at_tokens)
    if final:
        error.metadata[FINAL] = "true"
    return wait_told(error, pause)


def _kind(fault: ProviderFault, *, final: bool) -> type[DomainError]:
    kind = _KINDS.get(fault.fault, ProviderUnavailable)
    if final and kind is ProviderLimited:
        return ProviderExhausted
    return ProviderDeclines if final and kind is ProviderUnavailable else kind
