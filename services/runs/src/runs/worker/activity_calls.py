"""Calls of activities that begin as local ones, and that others take over.

It is code of the workflow, and as deterministic: see `workflows`.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, NoReturn, TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import is_cancelled_exception as is_cancelled

from runs.domain.activities import Walk, Walked
from runs.domain.plan import TO_PAUSE
from runs.worker.scheduling import (
    HEARTBEAT_TIMEOUT,
    LOCAL_TIMEOUT,
    LONGEST_PAUSE,
    ONCE,
    failure_class,
    is_final,
    raise_if_cancelled,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

S = TypeVar("S")
ArgumentT = TypeVar("ArgumentT", bound=Walk)
ResultT = TypeVar("ResultT", bound=Walked)

_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1), backoff_coefficient=1.0, maximum_interval=LONGEST_PAUSE
)
"""For attempts whose worker is gone: of all others, activities say how long to wait."""

_WAITED_FOR_VERSION = 6
"""The version since which local activities are waited for when they are cancelled, and what one
hands over begins before it is."""

_FAILURE_ENDS_VERSION = 7
"""The version since which nothing more begins in what was cancelled because something failed."""

_WAIT = workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
_TRY = workflow.ActivityCancellationType.TRY_CANCEL
_TAKE_OVER_SECONDS = 10.0
"""As long as what was handed over goes on in its process before somebody takes it over."""


class ActivityCalls:
    """Calls activities as a version of the workflow does."""

    def __init__(self, version: int) -> None:
        self._failures = failure_class(version)
        waits = version >= _WAITED_FOR_VERSION
        self._waits = waits
        self._local_cancellation = _WAIT if waits else _TRY
        self._failure_ends = version >= _FAILURE_ENDS_VERSION

    def raise_if_cancelled(self) -> None:
        """Raise CancelledError if the run was cancelled, or this task since another has failed.

        An activity that ends well in spite of its cancellation swallows it.
        """
        raise_if_cancelled()
        if self._failure_ends and _is_cancelled():
            raise asyncio.CancelledError

    async def run(
        self,
        name: str,
        method: Callable[[S, ArgumentT], Awaitable[ResultT]],
        walk: ArgumentT,
        longest: timedelta,
        *,
        local: bool = True,
    ) -> ResultT:
        """Run an activity in this worker for as long as it is brief, then in any worker."""
        try:
            walked = await self._run_briefly(name, method, walk) if local else None
            if walked is not None and not walked.more:
                return walked
            attempts = [] if walked is None else walked.attempts
            hands_over = self._waits and bool(attempts)
            if _is_cancelled() and not (hands_over and _is_to_pause()):
                raise asyncio.CancelledError
            if walked is not None and walked.wait_ms:
                await asyncio.sleep(walked.wait_ms / 1_000)
            handle = workflow.start_activity_method(
                method,
                replace(walk, attempts=attempts),
                activity_id=name,
                start_to_close_timeout=longest,
                heartbeat_timeout=HEARTBEAT_TIMEOUT,
                retry_policy=_RETRY,
                cancellation_type=_WAIT,
                summary=name,
            )
            walked = await (_taken_over(handle) if hands_over else handle)
            if walked.cancelled:
                await _wait_for_cancellation()
            return walked
        except self._failures:
            # A step that is cancelled while it fails is not tried again: its failure is its end,
            # and must not become the run's.
            raise_if_cancelled()
            raise

    async def _run_briefly(
        self, name: str, method: Callable[[S, ArgumentT], Awaitable[ResultT]], argument: ArgumentT
    ) -> ResultT | None:
        """Run a local activity once; None if it did not come to an end: another one goes on.

        Retries of a local activity would add to the history, and keep its worker from ending.
        """
        try:
            walked = await workflow.execute_local_activity_method(
                method,
                argument,
                activity_id=name,
                start_to_close_timeout=LOCAL_TIMEOUT,
                retry_policy=ONCE,
                cancellation_type=self._local_cancellation,
            )
        except self._failures as error:
            if is_cancelled(error) or is_final(error):
                raise
            return None
        if walked.cancelled:
            await _wait_for_cancellation()
        return walked


async def _taken_over(handle: workflow.ActivityHandle[ResultT]) -> ResultT:
    """Await an activity that goes on with attempts. Where the run is to pause, it has the time to
    begin before it is cancelled: it is to end what has begun.
    """
    if workflow.cancellation_reason() is None:
        try:
            return await asyncio.shield(handle)
        except asyncio.CancelledError:
            pass  # of the run, or since another of its activities has failed
    if _is_to_pause():
        await workflow.wait([handle], timeout=_TAKE_OVER_SECONDS)
    handle.cancel()
    return await handle


async def _wait_for_cancellation() -> NoReturn:
    """Wait until Temporal tells that the run is cancelled, as its database has told already."""
    if not _is_cancelled():
        await asyncio.Event().wait()
    raise asyncio.CancelledError


def _is_to_pause() -> bool:
    return workflow.cancellation_reason() == TO_PAUSE


def _is_cancelled() -> bool:
    """Return whether this task was cancelled, also where an activity that ended well hid it."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
