"""Calls of activities that begin as local ones, and that others take over.

It is code of the workflow, and as deterministic: see `workflows`.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import is_cancelled_exception as is_cancelled

from runs.domain.activities import Walk, Walked
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


class ActivityCalls:
    """Calls activities as a version of the workflow does."""

    def __init__(self, version: int) -> None:
        self._failures = failure_class(version)

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
            if walked is not None and walked.wait_ms:
                await asyncio.sleep(walked.wait_ms / 1_000)
            return await workflow.execute_activity_method(
                method,
                replace(walk, attempts=[] if walked is None else walked.attempts),
                activity_id=name,
                start_to_close_timeout=longest,
                heartbeat_timeout=HEARTBEAT_TIMEOUT,
                retry_policy=_RETRY,
                cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
                summary=name,
            )
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
            )
        except self._failures as error:
            if is_cancelled(error) or is_final(error):
                raise
            return None
        if walked.cancelled:
            await asyncio.Event().wait()  # until Temporal tells that the run is cancelled
        return walked
