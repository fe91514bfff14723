"""Retries of what a step asks of databases and services. Waiting uses up no attempt."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, TypeVar

from runs.domain.failures import StepFailed, StepImpossible
from runs.domain.waiting import telling
from servicekit.errors import (
    DataLoss,
    DeadlineExceeded,
    DomainError,
    Internal,
    LimitExceeded,
    TenantNotActive,
    Unavailable,
)
from servicekit.retries import Backoff, RetryLog, retry, retry_after_seconds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

_BACKOFF = Backoff(first=0.2, most=5.0)
_LONGEST_WAIT = 24 * 3600.0
_LASTING_SECONDS = 10.0
_PROVIDER = frozenset({"ERROR_REASON_PROVIDER_UNAVAILABLE", "ERROR_REASON_PROVIDER_LIMITED"})
_TOO_BUSY = "ERROR_REASON_LIMIT_EXCEEDED"
_log = logging.getLogger(__name__)


async def retry_transient(do: Callable[[], Awaitable[T]]) -> T:
    """Await `do`, and again for as long as a service or a database cannot be reached.

    The activity's heartbeats tell what is waited for. Raises StepFailed for what a service refuses.
    The caller's own timeout bounds the waiting.
    """
    log = RetryLog(_log, "dependency.unavailable", "a step waits for a database or a service")
    with telling() as tell:

        async def attempt() -> T:
            # One that lasts is no longer refused, as far as anybody knows.
            lasting = asyncio.get_running_loop().call_later(_LASTING_SECONDS, tell, "")
            try:
                return await do()
            except DomainError as error:
                if is_transient(error):
                    tell(error.message.partition(". ")[0])  # without the hint
                raise
            finally:
                lasting.cancel()

        try:
            return await retry(attempt, is_transient, log, backoff=_BACKOFF)
        except DomainError as error:
            raise step_failure(error) from error


def is_transient(error: Exception) -> bool:
    """Return whether an error says nothing about the step: something is away, busy or slow."""
    if not isinstance(error, DomainError):
        return False
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
    wait = retry_after_seconds(error)
    if again and wait > _LONGEST_WAIT:
        again, message = False, f"to be tried again in {wait / 3600:,.0f} hours: {message}"
    if not again or error.metadata.get("final") == "true":
        return StepImpossible(reason, message)
    failure = StepFailed(reason, message)
    failure.wait_seconds = wait
    return failure
