"""Errors of activities as Temporal gets them: our own messages, and nothing else.

Whatever an activity raises would stand in the workflow's history and in the SDK's log.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from temporalio import activity
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.worker import ActivityInboundInterceptor, Interceptor

from runs.domain.activities import Walk
from runs.domain.failures import StepFailed
from servicekit import telemetry
from servicekit.call import CallContext, use_call
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from temporalio.worker import ExecuteActivityInput

_HEARTBEAT_SECONDS = 3.0
_MOST_DOUBLINGS = 16
_log = logging.getLogger(__name__)


def to_application_error(
    failure: StepFailed, *, final: bool, failures: int | None = None
) -> ApplicationError:
    """Return a failure for Temporal. With `final` the activity is not retried.

    `failures` is how many there have been, this one included. Without it Temporal's own count is
    used, which includes the times that a step was handed back.
    """
    return ApplicationError(
        failure.message,
        type=failure.reason,
        non_retryable=final,
        next_retry_delay=None if final else _delay(failure, failures or activity.info().attempt),
    )


class ActivityErrorInterceptor(Interceptor):
    """Sends heartbeats for every activity, and replaces errors that are not ours."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _ErrorInterceptor(next)


class _ErrorInterceptor(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: ANN401 - Temporal's signature
        try:
            with _traced():
                async with _heartbeating(input):
                    return await self.next.execute_activity(input)
        except (ApplicationError, CancelledError, asyncio.CancelledError):
            raise
        except StepFailed as failure:
            raise to_application_error(failure, final=failure.final) from None
        except DomainError as error:
            raise to_application_error(
                StepFailed(error.reason, error.message), final=False
            ) from None
        except Exception as error:
            raise _internal(error) from None


def _internal(error: Exception) -> ApplicationError:
    error_id = uuid.uuid4().hex[:12]
    frames = error.__traceback__
    while frames is not None and frames.tb_next is not None:
        frames = frames.tb_next
    where = "" if frames is None else f"{frames.tb_frame.f_code.co_qualname}:{frames.tb_lineno}"
    _log.error(
        "an activity raised an error that is not ours",
        extra={
            "event": "activity.failed_unexpectedly",
            "error_id": error_id,
            "type": type(error).__name__,
            "where": where,
        },
    )
    return to_application_error(StepFailed("INTERNAL", f"internal error {error_id}"), final=False)


def _delay(failure: StepFailed, failures: int) -> timedelta | None:
    """Return the time to the next attempt: the step's backoff, or more where that is in vain.

    The wait is Temporal's, so that it holds no slot of a worker.
    """
    backoff, wait = _backoff(failures), timedelta(seconds=failure.wait_seconds)
    return backoff if not wait else max(wait, backoff or wait)


def _backoff(failures: int) -> timedelta | None:
    """Return how long to wait after so many failures: each time twice as long."""
    policy = activity.info().retry_policy
    if policy is None:
        return None
    backoff = policy.initial_interval * 2 ** min(failures - 1, _MOST_DOUBLINGS)
    return min(backoff, policy.maximum_interval or backoff)


@contextmanager
def _traced() -> Generator[None]:
    """Give the activity's trace to the calls that it makes, where spans are exported."""
    span = trace.get_current_span()
    if not span.get_span_context().is_valid:
        yield
        return
    with use_call(CallContext(traceparent=telemetry.traceparent_of(span))):
        yield


@asynccontextmanager
async def _heartbeating(input: ExecuteActivityInput) -> AsyncGenerator[None]:
    if activity.info().is_local or isinstance(input.args[0], Walk):  # which sends its own
        yield
        return
    heartbeats = asyncio.create_task(_heartbeat_forever())
    try:
        yield
    finally:
        heartbeats.cancel()


async def _heartbeat_forever() -> None:
    while True:
        activity.heartbeat()
        await asyncio.sleep(_HEARTBEAT_SECONDS)
