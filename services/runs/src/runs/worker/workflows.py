"""The workflow of a run: it schedules the steps of the plan; activities do the rest.

It runs unsandboxed, so it must be deterministic by itself: no time, no randomness, no I/O, nothing
but its argument and the results of activities. A replay compares the names of activities and their
types, never arguments. Tests replay the histories that a release has recorded.
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

from runs.domain.activities import RunEnd, RunRef, StepRef
from runs.domain.plan import WORKFLOW_VERSION, Plan, RunStart
from runs.domain.runs import RunStatus
from runs.worker.activities.runs import RunActivities
from runs.worker.activities.steps import StepActivities
from runs.worker.graph import run_plan

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from runs.domain.plan import PlanStep

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
"""Before version 3; since then all children run at once and share ITEMS_IN_WORKFLOW."""

_EVEN_PARTS_VERSION = 3
"""The version since which a long map is divided evenly among its children."""

_TIMEOUT_MARGIN = timedelta(seconds=60)
_HEARTBEAT = timedelta(seconds=10)
_SHORT_TIMEOUT = timedelta(seconds=30)
_BEGIN_TIMEOUT = timedelta(seconds=330)
"""For what may begin the run: its input is copied, for which artifacts takes up to 300 s."""

_LONGEST_PAUSE = timedelta(seconds=60)
_RETRY_FOREVER = RetryPolicy(
    initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=10)
)
"""For what must happen in the end: it is tried until it does."""


@workflow.defn(name="PipelineRun", sandboxed=False)
class PipelineRun:
    """Runs a pipeline's plan, and records the run's final status."""

    @workflow.run
    async def run(self, start: RunStart) -> None:
        run = RunRef(start.tenant_id, start.run_id, start.epoch)
        try:
            plan = Plan.parse(start.plan)
            # A short step begins its run itself; others may wait long for a slot of a worker.
            started_by_steps = start.version >= 2 and plan.starts_with_short_steps
            if started_by_steps or await _local_activity(
                "begin", RunActivities.begin_run, run, _BEGIN_TIMEOUT
            ):
                await run_plan(plan, StepScheduler(run, start.version).run_step)
                _raise_if_cancelled()
                await _end_run(run, RunStatus.COMPLETED)
        except BaseException as error:
            if is_cancelled(error):
                await _end_run(run, RunStatus.CANCELLED)
                raise
            if not isinstance(error, Exception):
                raise
            failure = _failure(error)
            await _end_run(run, RunStatus.FAILED, failure)
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
    """Runs the items `first` to `last` of a mapped step."""

    @workflow.run
    async def run(self, part: MapPart) -> None:
        (step,) = Plan.parse(part.step).steps
        await StepScheduler(part.run).run_items(step, part.first, part.last, part.at_once)


class StepScheduler:
    """Schedules the activities of one run's steps."""

    def __init__(self, run: RunRef, version: int = WORKFLOW_VERSION) -> None:
        self._run = run
        self._version = version

    async def run_step(self, step: PlanStep) -> None:
        """Run a step, once or for each element of its list."""
        _raise_if_cancelled()
        if step.map_step is None:
            await self._run_item(step, 0)
            return
        ref = self._ref(step, 0)
        mapped = await _local_activity(
            f"open {ref.name}", StepActivities.open_map, ref, _BEGIN_TIMEOUT
        )
        _raise_if_cancelled()
        if mapped.skipped:
            return
        await self._run_map(step, mapped.count)
        await _local_activity(f"close {ref.name}", StepActivities.close_map, ref)

    async def run_items(
        self, step: PlanStep, first: int, last: int, at_once: int = ITEMS_IN_WORKFLOW
    ) -> None:
        """Run the items `first` to `last` of a mapped step, so many at once."""
        slots = asyncio.Semaphore(at_once)

        async def run_item(item: int) -> None:
            async with slots:
                await self._run_item(step, item)

        await _gather_or_cancel([run_item(item) for item in range(first, last + 1)])

    async def _run_map(self, step: PlanStep, count: int) -> None:
        if count <= ITEMS_IN_WORKFLOW:
            await self.run_items(step, 1, count)
            return
        if self._version < _EVEN_PARTS_VERSION:
            size, children = ITEMS_IN_OLD_CHILD, _OLD_CHILDREN_AT_ONCE
        else:
            children = -(-count // ITEMS_IN_CHILD)
            size = -(-count // children)
        slots, at_once = asyncio.Semaphore(children), max(1, ITEMS_IN_WORKFLOW // children)
        plan = Plan((_detached(step),)).compact()
        parts = [
            MapPart(self._run, plan, first, min(first + size - 1, count), at_once)
            for first in range(1, count + 1, size)
        ]
        await _gather_or_cancel([self._run_child(slots, step, part) for part in parts])

    async def _run_child(self, slots: asyncio.Semaphore, step: PlanStep, part: MapPart) -> None:
        async with slots:
            await workflow.execute_child_workflow(
                MapPartRun.run,
                part,
                id=f"{workflow.info().workflow_id}/{step.step}/{part.first}-{part.last}",
            )

    async def _run_item(self, step: PlanStep, item: int) -> None:
        try:
            await self._run_activity(step, self._ref(step, item))
        except ActivityError:
            # A step that is cancelled while it fails is not tried again: its failure is its end,
            # and must not become the run's.
            _raise_if_cancelled()
            raise
        _raise_if_cancelled()

    async def _run_activity(self, step: PlanStep, ref: StepRef) -> None:
        # Activities say how long to wait (`to_application_error`): Temporal's count of attempts
        # includes the times that a step was handed back. The rest is attempts whose worker is gone.
        pause = timedelta(milliseconds=step.backoff_ms)
        retry = RetryPolicy(
            initial_interval=pause,
            backoff_coefficient=1.0,
            maximum_interval=max(pause, _LONGEST_PAUSE),
        )
        if step.short:
            grace = _TIMEOUT_MARGIN if step.needs else _BEGIN_TIMEOUT
            await workflow.execute_local_activity_method(
                StepActivities.run_short_step,
                ref,
                activity_id=ref.name,
                start_to_close_timeout=timedelta(seconds=step.timeout_seconds) + grace,
                retry_policy=retry,
            )
            return
        await workflow.execute_activity_method(
            StepActivities.run_step,
            ref,
            activity_id=ref.name,
            start_to_close_timeout=timedelta(seconds=step.timeout_seconds) + _TIMEOUT_MARGIN,
            heartbeat_timeout=_HEARTBEAT,
            retry_policy=retry,
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            summary=str(ref),
        )

    def _ref(self, step: PlanStep, item: int) -> StepRef:
        return StepRef(self._run.tenant_id, self._run.run_id, self._run.epoch, step.step, item)


async def _local_activity(
    name: str,
    method: Callable[[S, P], Awaitable[R]],
    argument: P,
    longest: timedelta = _SHORT_TIMEOUT,
) -> R:
    return await workflow.execute_local_activity_method(
        method,
        argument,
        activity_id=name,
        start_to_close_timeout=longest,
        retry_policy=_RETRY_FOREVER,
    )


def _raise_if_cancelled() -> None:
    """Raise CancelledError if the run has been cancelled.

    An activity that ends well in spite of its cancellation swallows it.
    """
    if workflow.cancellation_reason() is not None:
        raise asyncio.CancelledError


async def _end_run(run: RunRef, status: RunStatus, failure: ApplicationError | None = None) -> None:
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
    await _local_activity("end", RunActivities.end_run, end)


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


async def _gather_or_cancel(coroutines: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Await all; when one fails, cancel the others, wait for them, and raise the failure."""
    tasks = [asyncio.create_task(each) for each in coroutines]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def _detached(step: PlanStep) -> PlanStep:
    """Return a step that can be a plan of its own: without `needs` and `map`."""
    return replace(step, needs=(), map_step=None, map_pointer="")
