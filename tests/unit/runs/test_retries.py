"""What a service's refusal means to a step: whether another attempt may follow, and when."""

from __future__ import annotations

import pytest

from runs.domain.failures import StepFailed
from runs.domain.waiting import collect_waiting
from runs.worker.activities import retries
from runs.worker.activities.retries import is_transient, retry_transient, step_failure
from servicekit.errors import Conflict, DataLoss, DomainError, LimitExceeded, Unavailable
from servicekit.retries import Backoff

HOUR_MS = 3_600_000


def refusal(kind: type[DomainError], reason: str, **metadata: str) -> DomainError:
    error = kind("claude: HTTP 429: too many requests", **metadata)
    error.reason = f"ERROR_REASON_{reason}"
    return error


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (LimitExceeded, "PROVIDER_LIMITED"),
        (Unavailable, "PROVIDER_UNAVAILABLE"),
        (DataLoss, "REPLY_INVALID"),
    ],
)
def test_what_may_pass_is_tried_again_and_what_is_final_is_not(
    kind: type[DomainError], reason: str
) -> None:
    later = step_failure(refusal(kind, reason, retry_after_ms=str(HOUR_MS)))
    never = step_failure(refusal(kind, reason, final="true"))

    assert (later.reason, later.final, later.wait_seconds) == (reason, False, 3600.0)
    assert (never.reason, never.final) == (reason, True)


@pytest.mark.parametrize("retry_after", ["", "soon", "-1", "1e3"])
def test_a_wait_that_is_none_is_none(retry_after: str) -> None:
    failure = step_failure(refusal(LimitExceeded, "PROVIDER_LIMITED", retry_after_ms=retry_after))

    assert (failure.final, failure.wait_seconds) == (False, 0.0)


@pytest.mark.parametrize("retry_after", [25 * HOUR_MS, 10**30])
def test_a_wait_of_more_than_a_day_ends_the_step_and_is_reported(retry_after: int) -> None:
    failure = step_failure(
        refusal(LimitExceeded, "PROVIDER_LIMITED", retry_after_ms=str(retry_after))
    )

    assert failure.final
    assert failure.message.startswith("to be tried again in ")


def test_what_a_provider_says_is_no_reason_to_wait_with_the_slot_in_hand() -> None:
    assert not is_transient(refusal(Unavailable, "PROVIDER_UNAVAILABLE", retry_after_ms="10000"))
    assert is_transient(refusal(Unavailable, "CALL_IN_FLIGHT", retry_after_ms="1000"))
    assert not is_transient(refusal(Conflict, "CALL_OUTCOME_UNKNOWN"))


async def test_what_is_waited_for_can_be_seen_until_it_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retries, "_BACKOFF", Backoff(first=0.001, most=0.001))
    waiting, seen = collect_waiting(), list[str]()

    async def ask() -> str:
        seen.append(waiting.reason)
        if len(seen) < 3:
            raise Unavailable("llm-gateway cannot be reached")
        return "answer"

    assert await retry_transient(ask) == "answer"
    assert seen == ["", *["llm-gateway cannot be reached"] * 2]
    assert waiting.reason == ""


async def test_a_refusal_is_not_waited_for() -> None:
    waiting = collect_waiting()

    async def ask() -> None:
        raise refusal(Conflict, "PROMPT_UNUSABLE")

    with pytest.raises(StepFailed):
        await retry_transient(ask)
    assert waiting.reason == ""
