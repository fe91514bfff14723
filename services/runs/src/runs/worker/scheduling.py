"""What the workflows of all versions use to schedule activities."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, FailureError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

P = TypeVar("P")
R = TypeVar("R")
S = TypeVar("S")

MAX_ITEMS_AT_ONCE = 50
"""The most elements of a map that are done at once, wherever they are done: else a long list would
fill the workers, and other tenants' runs would wait behind it."""

TIMEOUT_MARGIN = timedelta(seconds=60)
HEARTBEAT_TIMEOUT = timedelta(seconds=10)
SHORT_TIMEOUT = timedelta(seconds=30)
BEGIN_TIMEOUT = timedelta(seconds=330)
"""For what may begin the run: its input is copied, for which artifacts takes up to 300 s."""

_BARE_FAILURES_VERSION = 5
"""The version since which another activity goes on where a local one has failed. Such a failure
comes as it was raised, without the ActivityError around it that those of other activities have."""

LOCAL_TIMEOUT = timedelta(seconds=15)
"""Local activities hand over after a few seconds; one that does not is given up."""

ONCE = RetryPolicy(maximum_attempts=1)
LONGEST_PAUSE = timedelta(seconds=60)
RETRY_FOREVER = RetryPolicy(
    initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=10)
)
"""For what must happen in the end: it is tried until it does."""


async def run_local_activity(
    name: str,
    method: Callable[[S, P], Awaitable[R]],
    argument: P,
    longest: timedelta = SHORT_TIMEOUT,
) -> R:
    """Run an activity of the workflow's own worker, until it succeeds."""
    return await workflow.execute_local_activity_method(
        method,
        argument,
        activity_id=name,
        start_to_close_timeout=longest,
        retry_policy=RETRY_FOREVER,
    )


def failure_class(version: int) -> type[FailureError]:
    """Return the class of what a failed activity raises, as a version of the workflow knows it."""
    return ActivityError if version < _BARE_FAILURES_VERSION else FailureError


def is_final(error: FailureError) -> bool:
    """Return whether an activity that has failed is not to be tried again."""
    cause = error.cause if isinstance(error, ActivityError) else error
    return isinstance(cause, ApplicationError) and cause.non_retryable


def raise_if_cancelled() -> None:
    """Raise CancelledError if the run has been cancelled.

    An activity that ends well in spite of its cancellation swallows it.
    """
    if workflow.cancellation_reason() is not None:
        raise asyncio.CancelledError


async def gather_or_cancel(coroutines: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Await all; when one fails, cancel the others, wait for them, and raise the failure."""
    tasks = [asyncio.create_task(each) for each in coroutines]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
