"""Retries of what a step asks of databases and services. Waiting uses up no attempt."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, TypeVar

from runs.domain.failures import StepFailed, StepImpossible
from servicekit.errors import (
    DataLoss,
    DeadlineExceeded,
    DomainError,
    Internal,
    LimitExceeded,
    TenantNotActive,
    Unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

_FIRST_DELAY = 0.2
_LONGEST_DELAY = 5.0
_LONGEST_WAIT = 24 * 3600.0
_PROVIDER = frozenset({"ERROR_REASON_PROVIDER_UNAVAILABLE", "ERROR_REASON_PROVIDER_LIMITED"})
_TOO_BUSY = "ERROR_REASON_LIMIT_EXCEEDED"
_log = logging.getLogger(__name__)


async def retry_transient(do: Callable[[], Awaitable[T]]) -> T:
    """Await `do`, and again for as long as a service or a database cannot be reached.

    Raises StepFailed for what a service refuses. The caller's own timeout bounds the waiting.
    """
    delay = _FIRST_DELAY
    while True:
        try:
            return await do()
        except DomainError as error:
            if not is_transient(error):
                raise step_failure(error) from error
            _log.info(
                "waiting for a database or a service",
                extra={"event": "step.retry_scheduled", "reason": error.reason},
            )
            await asyncio.sleep(max(delay, min(_retry_after_seconds(error), _LONGEST_WAIT)))
            delay = min(2 * delay, _LONGEST_DELAY)


def is_transient(error: DomainError) -> bool:
    """Return whether an error says nothing about the step: something is away, busy or slow."""
    if error.reason == TenantNotActive.reason:
        return True  # suspended: whoever resumes it wants its runs to go on
    if isinstance(error, LimitExceeded):
        return error.reason == _TOO_BUSY
    return isinstance(error, (Unavailable, DeadlineExceeded)) and error.reason not in _PROVIDER


def step_failure(error: DomainError) -> StepFailed:
    """Return the step's failure for a service's refusal.

    Another attempt waits for as long as the service says, but for a day at most: after a longer
    wait nobody knows of the run any more. What the service calls final is.
    """
    again = error.reason in _PROVIDER or isinstance(error, (DataLoss, Internal))
    reason, message = error.reason.removeprefix("ERROR_REASON_"), error.message
    wait = _retry_after_seconds(error)
    if again and wait > _LONGEST_WAIT:
        again, message = False, f"to be tried again in {wait / 3600:,.0f} hours: {message}"
    if not again or error.metadata.get("final") == "true":
        return StepImpossible(reason, message)
    failure = StepFailed(reason, message)
    failure.wait_seconds = wait
    return failure


def _retry_after_seconds(error: DomainError) -> float:
    """Return for how many seconds a service asks to be left alone."""
    milliseconds = error.metadata.get("retry_after_ms", "")
    return int(milliseconds) / 1000 if milliseconds.isdecimal() else 0.0
