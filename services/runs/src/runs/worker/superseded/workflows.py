"""Scheduling before version 4 of the workflow: an activity for each step and element.

A long map goes to child workflows.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

from runs.domain.activities import RunRef, StepRef
from runs.domain.plan import Plan
from runs.worker.activities.runs import RunActivities
from runs.worker.scheduling import (
    BEGIN_TIMEOUT,
    HEARTBEAT_TIMEOUT,
    LONGEST_PAUSE,
    MAX_ITEMS_AT_ONCE,
    TIMEOUT_MARGIN,
    gather_or_cancel,
    raise_if_cancelled,
    run_local_activity,
)
from runs.worker.superseded.activities import StepActivities
from runs.worker.superseded.graph import run_plan

if TYPE_CHECKING:
    from runs.domain.plan import PlanStep

ITEMS_IN_CHILD = 500
"""Some 1,800 events; Temporal asks for a new history at 4,096."""

ITEMS_IN_OLD_CHILD = 200
_OLD_CHILDREN_AT_ONCE = 4
"""Before version 3; since then all children run at once and share MAX_ITEMS_AT_ONCE."""

_SHORT_STEPS_BEGIN_VERSION = 2
"""The version since which short steps begin their run; others may wait long for a slot."""

_EVEN_PARTS_VERSION = 3
"""The version since which a long map is divided evenly among its children."""


async def run_steps(run: RunRef, plan: Plan, version: int) -> bool:
    """Run all steps of a plan; return whether there was anything to do."""
    started_by_steps = version >= _SHORT_STEPS_BEGIN_VERSION and plan.starts_with_short_steps
    if not started_by_steps and not await run_local_activity(
        "begin", RunActivities.begin_run, run, BEGIN_TIMEOUT
    ):
        return False
    await run_plan(plan, StepScheduler(run, version).run_step)
    raise_if_cancelled()
    return True


@dataclass(frozen=True, slots=True)
class MapPart:
    """Some items of a mapped step, for a child workflow."""

    run: RunRef
    step: list[Any]
    """The step as Plan.compact returns a plan of this one step."""
    first: int
    last: int
    at_once: int = MAX_ITEMS_AT_ONCE // _OLD_CHILDREN_AT_ONCE


@workflow.defn(name="MapPart", sandboxed=False)
class MapPartRun:
    """Runs the items `first` to `last` of a mapped step."""

    @workflow.run
    async def run(self, part: MapPart) -> None:
        (step,) = Plan.parse(part.step).steps
        await StepScheduler(part.run).run_items(step, part.first, part.last, part.at_once)


class StepScheduler:
    """Schedules the activities of one run's steps."""

    def __init__(self, run: RunRef, version: int = _EVEN_PARTS_VERSION) -> None:
        self._run = run
        self._version = version

    async def run_step(self, step: PlanStep) -> None:
        """Run a step, once or for each element of its list."""
        raise_if_cancelled()
        if step.map_step is None:
            await self._run_item(step, 0)
            return
        ref = self._ref(step, 0)
        mapped = await run_local_activity(
            f"open {ref.name}", StepActivities.open_map, ref, BEGIN_TIMEOUT
        )
        raise_if_cancelled()
        if mapped.skipped:
            return
        await self._run_map(step, mapped.count)
        await run_local_activity(f"close {ref.name}", StepActivities.close_map, ref)

    async def run_items(
        self, step: PlanStep, first: int, last: int, at_once: int = MAX_ITEMS_AT_ONCE
    ) -> None:
        """Run the items `first` to `last` of a mapped step, so many at once."""
        slots = asyncio.Semaphore(at_once)

        async def run_item(item: int) -> None:
            async with slots:
                await self._run_item(step, item)

        await gather_or_cancel([run_item(item) for item in range(first, last + 1)])

    async def _run_map(self, step: PlanStep, count: int) -> None:
        if count <= MAX_ITEMS_AT_ONCE:
            await self.run_items(step, 1, count)
            return
        if self._version < _EVEN_PARTS_VERSION:
            size, children = ITEMS_IN_OLD_CHILD, _OLD_CHILDREN_AT_ONCE
        else:
            children = -(-count // ITEMS_IN_CHILD)
            size = -(-count // children)
        slots, at_once = asyncio.Semaphore(children), max(1, MAX_ITEMS_AT_ONCE // children)
        plan = Plan((_detached(step),)).compact()
        parts = [
            MapPart(self._run, plan, first, min(first + size - 1, count), at_once)
            for first in range(1, count + 1, size)
        ]
        await gather_or_cancel([self._run_child(slots, step, part) for part in parts])

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
            raise_if_cancelled()
            raise
        raise_if_cancelled()

    async def _run_activity(self, step: PlanStep, ref: StepRef) -> None:
        # Activities say how long to wait (`to_application_error`): Temporal's count of attempts
        # includes the times that a step was handed back. The rest is attempts whose worker is gone.
        pause = timedelta(milliseconds=step.backoff_ms)
        retry = RetryPolicy(
            initial_interval=pause,
            backoff_coefficient=1.0,
            maximum_interval=max(pause, LONGEST_PAUSE),
        )
        if step.short:
            grace = TIMEOUT_MARGIN if step.needs else BEGIN_TIMEOUT
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
            start_to_close_timeout=timedelta(seconds=step.timeout_seconds) + TIMEOUT_MARGIN,
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
            retry_policy=retry,
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            summary=str(ref),
        )

    def _ref(self, step: PlanStep, item: int) -> StepRef:
        return StepRef(self._run.tenant_id, self._run.run_id, self._run.epoch, step.step, item)


def _detached(step: PlanStep) -> PlanStep:
    """Return a step that can be a plan of its own: without `needs` and `map`."""
    return replace(step, needs=(), map_step=None, map_pointer="")
