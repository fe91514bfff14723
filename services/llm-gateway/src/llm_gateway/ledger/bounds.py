"""How often and how soon something is sent under one key, whoever asks for it again.

A proxy or a client library cannot tell a service that is away from one that says that a provider is
away, and repeats both. So it is the ledger that counts. A round is at most three attempts and ends
with a refusal; until its pause is over, whoever asks is told the same refusal.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from llm_gateway.domain.calls import Bound, Refusal
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

if TYPE_CHECKING:
    from llm_gateway.domain.calls import Attempt, Call
    from servicekit.errors import DomainError

MAX_ATTEMPTS = 3
"""The attempts of one round."""

FINAL = "final"
"""The key of a refusal's metadata that says `true` where waiting does not help."""

_REQUEST_SECONDS = 900.0  # the longest that a request lasts, and all that repeat it
_KINDS: dict[tuple[str, bool], type[DomainError]] = {
    (kind.reason, kind in (ProviderExhausted, ProviderDeclines)): kind
    for kind in (
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
}


def bound_of(error: DomainError, seconds: float, request_id: str) -> Bound:
    """Return the bound with which a round ends: for so many seconds `error` is told again."""
    return Bound(seconds, Refusal(error.reason, error.message, dict(error.metadata), request_id))


def wait_told(error: DomainError, seconds: float) -> DomainError:
    """Return the error, which tells after how many seconds to call again where that helps."""
    error.metadata.pop("retry_after_ms", None)
    if seconds > 0 and FINAL not in error.metadata:
        error.metadata["retry_after_ms"] = str(math.ceil(seconds * 1000))
    return error


def refuse_too_early(call: Call, policy: UnknownPolicy, request_id: str) -> None:
    """Raise what was told before, if the pause is not over or the same request comes again.

    Where the policy lets nothing more be sent, `refuse_unknown` says so.
    """
    if call.unknown_attempt and policy is UnknownPolicy.FAIL:
        return
    last = call.attempts[-1] if call.attempts else None
    told = None if last is None else last.refusal
    if last is None or told is None or told.reason == CallOutcomeUnknown.reason:
        return  # to ask with another policy is another decision
    seconds = call.pause_seconds
    if request_id and told.request_id == request_id:
        seconds = max(seconds, _repeats_for(call, last))
    if seconds > 0:
        kind = _KINDS.get((told.reason, told.metadata.get(FINAL) == "true"), ProviderUnavailable)
        raise wait_told(kind(told.message, **told.metadata), seconds)


def used_up(attempt: Attempt, provider_id: str) -> DomainError:
    """Return the refusal that ends a round whose attempts died with their processes."""
    error = ProviderUnavailable(f"{provider_id}: {attempt.error}")
    error.metadata |= {"provider_id": provider_id, "http_status": str(attempt.http_status)}
    error.metadata |= {"attempt": str(attempt.number), "attempts": str(MAX_ATTEMPTS)}
    return error


def _repeats_for(call: Call, last: Attempt) -> float:
    """Return for how long the refused request may still be repeated by something in front."""
    ended = last.ended_at or last.dispatched_at
    return _REQUEST_SECONDS - (call.read_at - ended).total_seconds()
