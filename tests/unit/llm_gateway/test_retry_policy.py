"""Who may try again, and when."""

from __future__ import annotations

import time

import pytest

from llm_gateway.app.retry_policy import RetryBudget, RetryPolicy, error_for
from llm_gateway.domain.requests import UnknownPolicy
from llm_gateway.errors import (
    CallOutcomeUnknown,
    ProviderExhausted,
    ProviderLimited,
    ProviderRefused,
    ProviderUnavailable,
    ReplyCut,
    ReplyInvalid,
    ReplyRefused,
)
from llm_gateway.providers.wire_format import FailureKind, ProviderFault

FAIL, REDO = UnknownPolicy.FAIL, UnknownPolicy.REDO
BACKOFF = 10.0
MONTH = 31 * 86_400.0


def delay(
    fault: FailureKind,
    *,
    attempts: int = 1,
    policy: UnknownPolicy = FAIL,
    left: float = 60.0,
    retry_after: float | None = None,
    retry_policy: RetryPolicy | None = None,
) -> float | None:
    happened = ProviderFault(fault, "x", retry_after=retry_after)
    deadline = time.monotonic() + left
    chosen = retry_policy or RetryPolicy(RetryBudget(100), BACKOFF)
    return chosen.decide(happened, attempts, "claude", policy, deadline).delay_seconds


@pytest.mark.parametrize(
    "fault", [FailureKind.NEVER_SENT, FailureKind.UNAVAILABLE, FailureKind.LIMITED]
)
def test_what_nobody_paid_for_is_tried_three_times(fault: FailureKind) -> None:
    first, second = delay(fault), delay(fault, attempts=2)

    assert first is not None
    assert second is not None
    assert 0.25 <= first <= 0.5 <= second <= 1.0
    assert delay(fault, attempts=3) is None


@pytest.mark.parametrize(
    "fault",
    [
        FailureKind.REFUSED,
        FailureKind.EXHAUSTED,
        FailureKind.MALFORMED,
        FailureKind.CUT,
        FailureKind.DECLINED,
    ],
)
def test_what_will_not_help_is_not_tried(fault: FailureKind) -> None:
    assert delay(fault, policy=REDO) is None


def test_what_may_have_been_paid_is_tried_again_by_policy_only() -> None:
    assert delay(FailureKind.LOST) is None
    assert delay(FailureKind.LOST, policy=REDO) is not None


def test_a_wait_that_the_provider_asks_for_is_kept_or_not_begun() -> None:
    assert delay(FailureKind.LIMITED, retry_after=7, left=8) == 7
    assert delay(FailureKind.LIMITED, retry_after=7, left=6) is None


def test_what_must_be_waited_for_for_long_is_waited_for_by_who_asked() -> None:
    assert delay(FailureKind.LIMITED, retry_after=29, left=900) == 29
    assert delay(FailureKind.LIMITED, retry_after=31, left=900) is None


@pytest.mark.parametrize(
    ("fault", "policy", "retry_after", "seconds"),
    [
        (FailureKind.UNAVAILABLE, FAIL, None, BACKOFF),
        (FailureKind.LIMITED, FAIL, 3.0, BACKOFF),
        (FailureKind.LIMITED, FAIL, 3_600.0, 3_600.0),
        (FailureKind.LIMITED, FAIL, 1e20, MONTH),
        (FailureKind.EXHAUSTED, FAIL, None, BACKOFF),
        (FailureKind.LOST, REDO, None, BACKOFF),
        (FailureKind.LOST, FAIL, None, 0.0),
        (FailureKind.MALFORMED, FAIL, None, 0.0),
        (FailureKind.REFUSED, FAIL, None, 0.0),
    ],
)
def test_a_key_rests_after_its_last_attempt(
    fault: FailureKind, policy: UnknownPolicy, retry_after: float | None, seconds: float
) -> None:
    happened = ProviderFault(fault, "x", retry_after=retry_after)

    backoff = RetryPolicy(RetryBudget(1), BACKOFF).backoff_seconds(happened, policy)
    error = error_for(happened, 1, 1, "claude", policy, backoff=backoff)

    assert backoff == seconds
    retry_after_ms = error.metadata.get("retry_after_ms")
    waits = seconds > 0 and fault is not FailureKind.EXHAUSTED
    assert retry_after_ms == (str(round(seconds * 1000)) if waits else None)
    assert ("retry_after_ms" in error.hint) <= waits
    assert (error.metadata.get("final") == "true") == (fault is FailureKind.EXHAUSTED)


def test_a_provider_that_asks_to_be_left_alone_is() -> None:
    fault = ProviderFault(FailureKind.UNAVAILABLE, "x")
    fault.final = True

    retry_policy = RetryPolicy(RetryBudget(100), BACKOFF)
    decision = retry_policy.decide(fault, 1, "claude", FAIL, time.monotonic() + 60)
    assert decision.delay_seconds is None


def test_a_provider_that_fails_altogether_is_asked_hardly_more_often() -> None:
    retry_policy, calls, repeated = RetryPolicy(RetryBudget(10), BACKOFF), 1000, 0
    failed = ProviderFault(FailureKind.UNAVAILABLE, "x")
    for _ in range(calls):
        retry_policy.count_call("claude")
        attempts = 1
        while (
            delay(FailureKind.UNAVAILABLE, attempts=attempts, retry_policy=retry_policy) is not None
        ):
            repeated += 1
            attempts += 1

    assert repeated <= calls / 10 + 10
    empty = retry_policy.decide(failed, 1, "claude", FAIL, time.monotonic() + 60)
    assert empty.why == "not repeated, because too many calls to claude failed lately"
    assert retry_policy.decide(failed, 1, "gemini", FAIL, time.monotonic() + 60).delay_seconds


@pytest.mark.parametrize(
    ("fault", "policy", "kind"),
    [
        (FailureKind.REFUSED, FAIL, ProviderRefused),
        (FailureKind.LIMITED, FAIL, ProviderLimited),
        (FailureKind.EXHAUSTED, FAIL, ProviderExhausted),
        (FailureKind.UNAVAILABLE, FAIL, ProviderUnavailable),
        (FailureKind.NEVER_SENT, FAIL, ProviderUnavailable),
        (FailureKind.MALFORMED, FAIL, ReplyInvalid),
        (FailureKind.CUT, FAIL, ReplyCut),
        (FailureKind.DECLINED, FAIL, ReplyRefused),
        (FailureKind.LOST, FAIL, CallOutcomeUnknown),
        (FailureKind.LOST, REDO, ProviderUnavailable),
    ],
)
def test_each_fault_has_its_reason(
    fault: FailureKind, policy: UnknownPolicy, kind: type[Exception]
) -> None:
    error = error_for(ProviderFault(fault, "words", status=418), 5, 2, "claude", policy)

    assert type(error) is kind
    assert error.metadata["attempt"] == "5"
