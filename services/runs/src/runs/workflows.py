"""The workflow of a run: it walks the plan, and leaves everything else to activities.

It runs unsandboxed, so it must be deterministic by itself: no time, no chance, no I/O, nothing
but its argument and what activities answer. Each activity is named after what it does: a replay
compares names and types, never arguments. Tests replay the histories that a release has left.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, ChildWorkflowError, FailureError
from temporalio.exceptions import is_cancelled_exception as is_cancelled

from runs.activities.runs import RunActivities
from runs.activities.steps import StepActivities
from runs.domain.plan import WORKFLOW_VERSION, Plan, RunStart
from runs.domain.runs import RunStatus
from runs.domain.work import RunEnd, RunRef, Work
from runs.graph import walk

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from runs.domain.plan import PlanStep
    from runs.domain.work import Listing

P = TypeVar("P")
R = TypeVar("R")
S = TypeVar("S")

ITEMS_IN_WORKFLOW = 50
"""The most items of a map that the run's own workflow does; more go to child workflows.

It is also the most that are done at once, wherever they are done: else a long list would fill the
workers, and other tenants' runs would wait behind it.
"""

ITEMS_IN_CHILD = 500
"""Some 1,800 events; Temporal asks for a new history at 4,096."""

ITEMS_IN_OLD_CHILD = 200
_OLD_CHILDREN_AT_ONCE = 4
"""Before version 3, in which all children are at it at once and share what may be done at once."""

_EVENLY = 3
"""The version since which a long map is divided evenly among its children."""

_GRACE = timedelta(seconds=60)
_HEARTBEAT = timedelta(seconds=10)
_SHORT = timedelta(seconds=30)
_BEGINNING = timedelta(seconds=330)
"""For what may begin the run: its input is copied, for which artifacts takes up to 300 s."""

_LONGEST_PAUSE = timedelta(seconds=60)
_PATIENT = RetryPolicy(
    initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=10)
)
"""For what must happen in the end: it is tried until it does."""


@workflow.defn(name="PipelineRun", sandboxed=False)
class PipelineRun:
    """Takes a run from its beginning to its final status."""

    @workflow.run
    async def run(self, start: RunStart) -> None:
        run = RunRef(start.tenant_id, start.run_id, start.epoch)
        try:
            plan = Plan.parse(start.plan)
            # A short step begins its run itself; others may wait long for a slot of a worker.
            begun_by_steps = start.version >= 2 and plan.begins_short
            if begun_by_steps or await _local("begin", RunActivities.begin_run, run, _BEGINNING):
                await walk(plan, StepRunner(run, start.version).do)
                _heed_cancellation()
                await _end(run, RunStatus.COMPLETED)
        except BaseException as error:
            if is_cancelled(error):
                await _end(run, RunStatus.CANCELLED)
                raise
            if not isinstance(error, Exception):
                raise
            failure = _failure(error)
            await _end(run, RunStatus.FAILED, failure)
            raise failure from None


@dataclass(frozen=True, slots=True)
class MapPart:
    """Some items of a mapped step, for a child workflow."""

    run: RunRef
    step: list[Any]
    """The step as Plan.compact returns a plan of this one step."""
    first: int
    last: int
    at_once: int = ITEMS_IN_WORKFLOW // _OLD_CHILDREN_AT_ONCE


@workflow.defn(name="MapPart", sandboxed=False)
class MapPartRun:
    """Does the items `first` to `last` of a mapped step."""

    @workflow.run
    async def run(self, part: MapPart) -> None:
        (step,) = Plan.parse(part.step).steps
        await StepRunner(part.run).items(step, part.first, part.last, part.at_once)


class StepRunner:
    """Does the steps of one run."""

    def __init__(self, run: RunRef, version: int = WORKFLOW_VERSION) -> None:
        self._run = run
        self._version = version

    async def do(self, step: PlanStep) -> None:
        """Do a step, once or for each element of its list."""
        _heed_cancellation()
        if step.map_step is None:
            await self._piece(step, 0)
            return
        work = self._work(step, 0)
        listing = await _local(f"open {work.name}", StepActivities.open_map, work, _BEGINNING)
        _heed_cancellation()
        if listing.skipped:
            return
        await self._map(step, listing)
        await _local(f"close {work.name}", StepActivities.close_map, work)

    async def items(
        self, step: PlanStep, first: int, last: int, at_once: int = ITEMS_IN_WORKFLOW
    ) -> None:
        """Do some items of a mapped step, so many at once."""
        gate = asyncio.Semaphore(at_once)

        async def piece(item: int) -> None:
            async with gate:
                await self._piece(step, item)

        await _together([piece(item) for item in range(first, last + 1)])

    async def _map(self, step: PlanStep, listing: Listing) -> None:
        if listing.count <= ITEMS_IN_WORKFLOW:
            await self.items(step, 1, listing.count)
            return
        if self._version < _EVENLY:
            size, children = ITEMS_IN_OLD_CHILD, _OLD_CHILDREN_AT_ONCE
        else:
            children = -(-listing.count // ITEMS_IN_CHILD)
            size = -(-listing.count // children)
        gate, at_once = asyncio.Semaphore(children), max(1, ITEMS_IN_WORKFLOW // children)
        plan = Plan((_alone(step),)).compact()
        parts = [
            MapPart(self._run, plan, first, min(first + size - 1, listing.count), at_once)
            for first in range(1, listing.count + 1, size)
        ]
        await _together([self._child(gate, step, part) for part in parts])

    async def _child(self, gate: asyncio.Semaphore, step: PlanStep, part: MapPart) -> None:
        async with gate:
            await workflow.execute_child_workflow(
                MapPartRun.run,
                part,
                id=f"{workflow.info().workflow_id}/{step.step}/{part.first}-{part.last}",
            )

    async def _piece(self, step: PlanStep, item: int) -> None:
        try:
            await self._piece_done(step, self._work(step, item))
        except ActivityError:
            # A step that is cancelled while it fails is not tried again: its failure is its end,
            # and must not become the run's.
            _heed_cancellation()
            raise
        _heed_cancellation()

    async def _piece_done(self, step: PlanStep, work: Work) -> None:
        # Activities tell themselves how long to wait (`told`): Temporal's count of attempts holds
        # the times that a step was handed back. The rest is attempts whose worker is gone.
        pause = timedelta(milliseconds=step.backoff_ms)
        retry = RetryPolicy(
            initial_interval=pause,
            backoff_coefficient=1.0,
            maximum_interval=max(pause, _LONGEST_PAUSE),
        )
        if step.short:
            grace = _GRACE if step.needs else _BEGINNING
            await workflow.execute_local_activity_method(
                StepActivities.run_short_step,
                work,
                activity_id=work.name,
                start_to_close_timeout=timedelta(seconds=step.timeout_seconds) + grace,
                retry_policy=retry,
            )
            return
        await workflow.execute_activity_method(
            StepActivities.run_step,
            work,
            activity_id=work.name,
            start_to_close_timeout=timedelta(seconds=step.timeout_seconds) + _GRACE,
            heartbeat_timeout=_HEARTBEAT,
            retry_policy=retry,
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            summary=str(work),
        )

    def _work(self, step: PlanStep, item: int) -> Work:
        return Work(self._run.tenant_id, self._run.run_id, self._run.epoch, step.step, item)


async def _local(
    name: str, method: Callable[[S, P], Awaitable[R]], argument: P, longest: timedelta = _SHORT
) -> R:
    return await workflow.execute_local_activity_method(
        method,
        argument,
        activity_id=name,
        start_to_close_timeout=longest,
        retry_policy=_PATIENT,
    )


def _heed_cancellation() -> None:
    """Raise CancelledError if the run has been cancelled.

    An activity that ends well in spite of its cancellation swallows it.
    """
    if workflow.cancellation_reason() is not None:
        raise asyncio.CancelledError


async def _end(run: RunRef, status: RunStatus, failure: ApplicationError | None = None) -> None:
    end = RunEnd(run.tenant_id, run.run_id, run.epoch, status.value)
    if failure is not None:
        end = RunEnd(
            run.tenant_id,
            run.run_id,
            run.epoch,
            status.value,
            reason=failure.type or "",
            message=failure.message,
        )
    await _local("end", RunActivities.end_run, end)


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


async def _together(pieces: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Do all; when one fails, cancel the others, wait for them, and raise the failure."""
    tasks = [asyncio.create_task(piece) for piece in pieces]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def _alone(step: PlanStep) -> PlanStep:
    """Return a step as a plan of its own can hold it: without what it needs."""
    return replace(step, needs=(), map_step=None, map_pointer="")
