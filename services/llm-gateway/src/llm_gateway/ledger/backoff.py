"""How often and how soon something is sent under one key, whoever asks for it again.

A proxy or a client library cannot tell that the gateway is away from the gateway reporting that a
provider is away, and repeats both. So the ledger counts. A round has at most three attempts and
ends with a refusal; until its backoff is over, every caller gets the same refusal.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from llm_gateway.domain.attempts import KeyBackoff, Refusal
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
    from llm_gateway.domain.attempts import CallAttempt
    from llm_gateway.domain.calls import LlmCall
    from servicekit.errors import DomainError

MAX_ATTEMPTS = 3
"""The attempts of one round."""

FINAL = "final"
"""The key of an error's metadata that is `true` where waiting does not help."""

_REQUEST_SECONDS = 900.0  # the longest that a request lasts, and all that repeat it
_ERRORS: dict[tuple[str, bool], type[DomainError]] = {
    (error.reason, error in (ProviderExhausted, ProviderDeclines)): error
    for error in (
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


def backoff_with_refusal(error: DomainError, seconds: float, request_id: str) -> KeyBackoff:
    """Return the backoff that ends a round: for so many seconds callers get `error` again."""
    return KeyBackoff(
        seconds, Refusal(error.reason, error.message, dict(error.metadata), request_id)
    )


def with_retry_after(error: DomainError, seconds: float) -> DomainError:
    """Return the error with `retry_after_ms` in its metadata, where to call again helps."""
    error.metadata.pop("retry_after_ms", None)
    if seconds > 0 and FINAL not in error.metadata:
        error.metadata["retry_after_ms"] = str(math.ceil(seconds * 1000))
    return error


def check_backoff(call: LlmCall, policy: UnknownPolicy, request_id: str) -> None:
    """Raise the last refusal again, if its backoff is not over or the same request is repeated.

    Where the policy lets nothing more be sent, `refuse_unknown` decides.
    """
    if call.unknown_attempt and policy is UnknownPolicy.FAIL:
        return
    last = call.attempts[-1] if call.attempts else None
    refusal = None if last is None else last.refusal
    if last is None or refusal is None or refusal.reason == CallOutcomeUnknown.reason:
        return  # to ask with another policy is another decision
    seconds = call.backoff_seconds
    if request_id and refusal.request_id == request_id:
        seconds = max(seconds, _repeated_for(call, last))
    if seconds > 0:
        final = refusal.metadata.get(FINAL) == "true"
        error = _ERRORS.get((refusal.reason, final), ProviderUnavailable)
        raise with_retry_after(error(refusal.message, **refusal.metadata), seconds)


def attempts_exhausted(attempt: CallAttempt, provider_id: str) -> DomainError:
    """Return the error that ends a round whose attempts died with their processes."""
    error = ProviderUnavailable(f"{provider_id}: {attempt.error}")
    error.metadata |= {"provider_id": provider_id, "http_status": str(attempt.http_status)}
    error.metadata |= {"attempt": str(attempt.number), "attempts": str(MAX_ATTEMPTS)}
    return error


def _repeated_for(call: LlmCall, last: CallAttempt) -> float:
    """Return for how many seconds a proxy may still repeat the refused request."""
    ended = last.ended_at or last.dispatched_at
    return _REQUEST_SECONDS - (call.read_at - ended).total_seconds()
