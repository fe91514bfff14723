"""Which errors pass by themselves, and waiting for it. Waiting uses up no attempt."""

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


async def patiently(do: Callable[[], Awaitable[T]]) -> T:
    """Do something, and again for as long as a service or a database cannot be reached.

    Raises StepFailed for what a service refuses; the caller's own timeout bounds the waiting.
    """
    delay = _FIRST_DELAY
    while True:
        try:
            return await do()
        except DomainError as error:
            if not passes(error):
                raise step_failure(error) from error
            _log.info("waiting", extra={"reason": error.reason})
            await asyncio.sleep(max(delay, min(_told_wait(error), _LONGEST_WAIT)))
            delay = min(2 * delay, _LONGEST_DELAY)


def passes(error: DomainError) -> bool:
    """Tell whether an error says nothing about the step: something is away, busy or slow."""
    if error.reason == TenantNotActive.reason:
        return True  # suspended: whoever resumes it wants its runs to go on
    if isinstance(error, LimitExceeded):
        return error.reason == _TOO_BUSY
    return isinstance(error, (Unavailable, DeadlineExceeded)) and error.reason not in _PROVIDER


def step_failure(error: DomainError) -> StepFailed:
    """Return what a service's refusal means to the step.

    Another attempt waits for as long as the service says, but for a day at most: after a longer
    wait nobody knows of the run any more. What the service calls final is.
    """
    again = error.reason in _PROVIDER or isinstance(error, (DataLoss, Internal))
    reason, message = error.reason.removeprefix("ERROR_REASON_"), error.message
    wait = _told_wait(error)
    if again and wait > _LONGEST_WAIT:
        again, message = False, f"to be tried again in {wait / 3600:,.0f} hours: {message}"
    if not again or error.metadata.get("final") == "true":
        return StepImpossible(reason, message)
    failure = StepFailed(reason, message)
    failure.wait_seconds = wait
    return failure


def _told_wait(error: DomainError) -> float:
    """Return for how many seconds a service asks to be left alone."""
    told = error.metadata.get("retry_after_ms", "")
    return int(told) / 1000 if told.isdecimal() else 0.0
