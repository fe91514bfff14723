"""How much of the workers a tenant gets beside others, and how fast its runs start."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TypeAlias

from runs.domain.run_shares import RunDemand, share

USUAL_RUNS = 100
"""How many runs of a tenant are under way at once while no worker of their task queue is known."""


class RunBound(Enum):
    """Why no more of a tenant's runs are under way at once."""

    WORKERS = auto()
    """The workers of the task queue do no more steps at once."""
    MAX_RUNS = auto()
    OTHER_TENANTS = auto()
    """Others have runs to do, and the tenant has its part."""


@dataclass(frozen=True, slots=True)
class TaskQueueShare:
    """How much a tenant may have of the workers of one task queue, beside what others do now."""

    task_queue: str
    """The pipelines' own task queue; empty for the common one."""
    runs_at_once: int
    bound: RunBound
    other_tenants: int
    """How many others have runs to do there."""
    worker_steps: int
    """How many steps the workers that do its runs do at once, all together."""
    most_steps: int
    """The most of these that its runs hold while those of no other tenant hold any."""


@dataclass(frozen=True, slots=True)
class TenantLimits:
    """What a tenant gets; these are the usual ones."""

    weight: float = 1.0
    """Of two tenants that want all they can get, one of weight 2 holds twice the slots."""
    max_steps: int = 0
    """The most steps that one worker does at once; its share when 0."""
    starts_per_minute: int = 0
    """How many runs start in a minute at most; any number when 0."""
    max_runs: int = 0
    """The most runs under way at once on a task queue; as its workers can do when 0."""
    steps_at_once: Mapping[str, int] = field(default_factory=dict[str, int], compare=False)
    """How many steps the workers of each task queue that do its runs do at once, all together."""
    own_steps: Mapping[str, int] = field(default_factory=dict[str, int], compare=False)
    """How many of these are of workers that do its runs alone."""
    most_steps: Mapping[str, int] = field(default_factory=dict[str, int], compare=False)
    """How many of them its runs hold at most, while those of no other tenant hold any."""
    tenant_id: str = field(default="", compare=False)
    demands: Mapping[str, Sequence[RunDemand]] = field(
        default_factory=dict[str, Sequence[RunDemand]], compare=False
    )
    """How many runs tenants would have under way on each task queue now, by their level.

    Those of tenants whose runs none of its workers does are left out.
    """

    def runs_at_once(self, task_queue: str) -> int:
        """Return the most runs that are under way at once on a task queue, beside those of others.

        Without others these are `max_runs`, or as many as its workers do steps. What workers do
        for it alone is not divided.
        """
        room = self.steps_at_once.get(task_queue, USUAL_RUNS)
        most = self.max_runs or room
        own = self.own_steps.get(task_queue, 0)
        divided = max(room, most) - own
        others = self._others(task_queue)
        return min(most, own + share(divided, self.weight, others)) if divided else most

    def steps_of(self, left: int, tenant_share: int) -> int:
        """Return the most steps that the tenant holds of those that the others leave of a worker;
        at least one. `tenant_share` is the worker's, in percent.

        What two of different weights hold is in the proportion of their weights.
        """
        wanted = self.weight * tenant_share
        most = max(1, int(left * wanted / (wanted + 100 - tenant_share)))
        return min(most, self.max_steps) if self.max_steps else most

    def shares(self) -> Sequence[TaskQueueShare]:
        """Return what the tenant may have now: of the common task queue, and of those that workers
        serve for it.
        """
        return tuple(self._share(queue) for queue in sorted({"", *self.steps_at_once}))

    def _share(self, task_queue: str) -> TaskQueueShare:
        runs = self.runs_at_once(task_queue)
        if runs < (self.max_runs or self.steps_at_once.get(task_queue, USUAL_RUNS)):
            bound = RunBound.OTHER_TENANTS
        else:
            bound = RunBound.MAX_RUNS if self.max_runs else RunBound.WORKERS
        return TaskQueueShare(
            task_queue,
            runs,
            bound,
            len(self._others(task_queue)),
            self.steps_at_once.get(task_queue, 0),
            self.most_steps.get(task_queue, 0),
        )

    def _others(self, task_queue: str) -> Sequence[RunDemand]:
        """Return what others would have under way on a task queue, by their level."""
        demands = self.demands.get(task_queue, ())
        return [one for one in demands if one.tenant_id != self.tenant_id]


USUAL = TenantLimits()

LimitsOf: TypeAlias = Callable[[str], TenantLimits]
"""Says which limits a tenant has."""


def usual_limits(_: str) -> TenantLimits:
    """Return what every tenant has for whom nothing else was set."""
    return USUAL
