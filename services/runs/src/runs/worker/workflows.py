"""The workflow of a run: it schedules the chains of the plan; activities do the rest.

It runs unsandboxed, so it must be deterministic by itself: no time, no randomness, no I/O, nothing
but its argument and the results of activities. A replay compares the names of activities and their
types, never arguments. Tests replay the histories that a release has recorded.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, ChildWorkflowError, FailureError
from temporalio.exceptions import is_cancelled_exception as is_cancelled

from runs.domain.activities import RunEnd, RunRef, Walk, Walked
from runs.domain.chains import chains
from runs.domain.failures import RUN_CLOSED
from runs.domain.plan import Plan, RunStart
from runs.domain.runs import RunStatus
from runs.worker.activities.runs import RunActivities
from runs.worker.activities.walk import WalkActivities
from runs.worker.graph import run_chains
from runs.worker.scheduling import (
    BEGIN_TIMEOUT,
    HEARTBEAT_TIMEOUT,
    LONGEST_PAUSE,
    MAX_ITEMS_AT_ONCE,
    RETRY_FOREVER,
    SHORT_TIMEOUT,
    TIMEOUT_MARGIN,
    failure_class,
    gather_or_cancel,
    is_final,
    raise_if_cancelled,
    run_local_activity,
)
from runs.worker.superseded.workflows import run_steps

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from runs.domain.chains import Chain

P = TypeVar("P")
S = TypeVar("S")

_CHAINS_VERSION = 4
"""The version since which an activity walks a chain of steps."""

LANES = 5
"""How many activities at once do the elements of a map that are not short."""

LANE_SIZE = 200
"""The most elements that one of them does."""

_CHUNKS_AT_ONCE = 4
_CHUNKS = 40
CHUNK_SIZES = range(20, 100)
"""How many short steps a local activity does: more of a longer list, so that there are few."""

_LOCAL_TIMEOUT = timedelta(seconds=15)
"""Local activities hand over after a few seconds; one that does not is given up."""

_LONGEST_WALK = timedelta(days=3_650)
_ONCE = RetryPolicy(maximum_attempts=1)
_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1), backoff_coefficient=1.0, maximum_interval=LONGEST_PAUSE
)
"""For attempts whose worker is gone: of all others, activities say how long to wait."""


@workflow.defn(name="PipelineRun", sandboxed=False)
class PipelineRun:
    """Runs a pipeline's plan, and records the run's final status."""

    @workflow.run
    async def run(self, start: RunStart) -> None:
        run = RunRef(start.tenant_id, start.run_id, start.epoch)
        try:
            plan = Plan.parse(start.plan)
            if start.version < _CHAINS_VERSION:
                recorded = not await run_steps(run, plan, start.version)
            else:
                recorded = await ChainScheduler(run, chains(plan), start.version).run()
            if not recorded:
                await _end_run(start, RunStatus.COMPLETED)
        except BaseException as error:
            if is_cancelled(error):
                await _end_run(start, RunStatus.CANCELLED)
                raise
            if not isinstance(error, Exception):
                raise
            failure = _failure(error)
            if failure.type == RUN_CLOSED and start.version >= _CHAINS_VERSION:
                return
            await _end_run(start, RunStatus.FAILED, failure)
            raise failure from None


class ChainScheduler:
    """Schedules the activities of one run's chains."""

    def __init__(self, run: RunRef, of: Sequence[Chain], version: int) -> None:
        self._run = run
        self._failures = failure_class(version)
        self._chains = of
        self._open = {chain.name for chain in of}
        self._first_alone = sum(not chain.needs for chain in of) == 1
        self._recorded = False

    async def run(self) -> bool:
        """Run all chains; return whether it is recorded already that the run has completed."""
        await run_chains(self._chains, self._run_chain)
        if not self._recorded:
            raise_if_cancelled()
        return self._recorded

    async def _run_chain(self, chain: Chain) -> None:
        raise_if_cancelled()
        walk = Walk(
            self._run.tenant_id,
            self._run.run_id,
            self._run.epoch,
            [step.step for step in chain.steps],
            short=chain.short,
            begins_run=self._first_alone and not chain.needs,
            completes_run=self._open == {chain.name},
        )
        if chain.mapped:
            completed = await self._run_map(chain, walk)
        else:
            await self._walk(chain, walk)
            completed = True
        self._open.discard(chain.name)
        self._recorded = completed and walk.completes_run
        if not self._recorded:
            raise_if_cancelled()

    async def _run_map(self, chain: Chain, walk: Walk) -> bool:
        """Run a chain of mapped steps; return whether they were not skipped."""
        mapped = await self._run_activity(
            f"open {walk.name}",
            WalkActivities.open_maps,
            replace(walk, completes_run=False),
            BEGIN_TIMEOUT,
        )
        raise_if_cancelled()
        if mapped.skipped:
            return False
        elements = replace(walk, begins_run=False, completes_run=False)
        if chain.short:
            await self._run_chunks(chain, elements, mapped.count)
        else:
            await self._run_lanes(chain, elements, mapped.count)
        raise_if_cancelled()
        await self._run_activity(
            f"close {walk.name}", WalkActivities.close_maps, walk, TIMEOUT_MARGIN
        )
        return True

    async def _run_chunks(self, chain: Chain, walk: Walk, count: int) -> None:
        steps = min(max(count * len(chain.steps) // _CHUNKS, CHUNK_SIZES.start), CHUNK_SIZES.stop)
        parts = _parts(walk, count, max(1, steps // len(chain.steps)))
        await self._walk_all(chain, parts, _CHUNKS_AT_ONCE)

    async def _run_lanes(self, chain: Chain, walk: Walk, count: int) -> None:
        at_once = MAX_ITEMS_AT_ONCE // LANES
        size = min(max(-(-count // LANES), at_once), LANE_SIZE)
        await self._walk_all(chain, _parts(walk, count, size), LANES)

    async def _walk_all(self, chain: Chain, parts: Sequence[Walk], at_once: int) -> None:
        slots = asyncio.Semaphore(at_once)
        # Several lanes are for several workers, a local activity is for this one.
        local = chain.short or len(parts) == 1

        async def walk(part: Walk) -> None:
            async with slots:
                await self._walk(chain, part, local=local)

        await gather_or_cancel([walk(part) for part in parts])

    async def _walk(self, chain: Chain, walk: Walk, *, local: bool = True) -> None:
        seconds = sum(step.timeout_seconds * step.max_attempts for step in chain.steps)
        elements = walk.last - walk.first + 1
        longest = min(timedelta(seconds=seconds) * elements + BEGIN_TIMEOUT, _LONGEST_WALK)
        await self._run_activity(walk.name, WalkActivities.walk, walk, longest, local=local)

    async def _run_activity(
        self,
        name: str,
        method: Callable[[S, Walk], Awaitable[Walked]],
        walk: Walk,
        longest: timedelta,
        *,
        local: bool = True,
    ) -> Walked:
        """Run an activity in this worker for as long as it is brief, then in any worker."""
        try:
            walked = await self._run_briefly(name, method, walk) if local else Walked(more=True)
            if not walked.more:
                return walked
            if walked.wait_ms:
                await asyncio.sleep(walked.wait_ms / 1_000)
            return await workflow.execute_activity_method(
                method,
                replace(walk, attempts=walked.attempts),
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
        self, name: str, method: Callable[[S, P], Awaitable[Walked]], argument: P
    ) -> Walked:
        """Run a local activity once. Whatever keeps it from its end, another activity goes on.

        Retries of a local activity would add to the history, and keep its worker from ending.
        """
        try:
            walked = await workflow.execute_local_activity_method(
                method,
                argument,
                activity_id=name,
                start_to_close_timeout=_LOCAL_TIMEOUT,
                retry_policy=_ONCE,
            )
        except self._failures as error:
            if is_cancelled(error) or is_final(error):
                raise
            return Walked(more=True)
        if walked.cancelled:
            await asyncio.Event().wait()  # until Temporal tells that the run is cancelled
        return walked


def _parts(walk: Walk, count: int, size: int) -> list[Walk]:
    """Divide the elements of a list evenly, each part of at most so many."""
    parts = -(-count // size)
    return [
        replace(walk, first=part * count // parts + 1, last=(part + 1) * count // parts)
        for part in range(parts)
    ]


async def _end_run(
    start: RunStart, status: RunStatus, failure: ApplicationError | None = None
) -> None:
    reason = "" if failure is None else failure.type or ""
    message = "" if failure is None else failure.message
    end = RunEnd(start.tenant_id, start.run_id, start.epoch, status.value, reason, message)
    if start.version < _CHAINS_VERSION:
        await run_local_activity("end", RunActivities.end_run, end)
        return
    try:
        await workflow.execute_local_activity_method(
            RunActivities.end_run,
            end,
            activity_id="end",
            start_to_close_timeout=_LOCAL_TIMEOUT,
            retry_policy=_ONCE,
        )
    except failure_class(start.version):
        await workflow.execute_activity_method(
            RunActivities.end_run,
            end,
            activity_id="end",
            start_to_close_timeout=SHORT_TIMEOUT,
            retry_policy=RETRY_FOREVER,
        )


def _failure(error: Exception) -> ApplicationError:
    """Return why a run failed, small and final."""
    cause: BaseException | None = error
    while isinstance(cause, (ActivityError, ChildWorkflowError)) and cause.cause is not None:
        cause = cause.cause
    if isinstance(cause, ApplicationError):
        return ApplicationError(cause.message, type=cause.type, non_retryable=True)
    known = isinstance(cause, FailureError)
    message = str(cause) if known else f"the workflow has a defect ({type(cause).__name__})"
    reason = type(cause).__name__ if known else "ERROR_REASON_INTERNAL"
    return ApplicationError(message, type=reason, non_retryable=True)
