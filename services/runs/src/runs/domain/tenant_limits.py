"""How much of the workers a tenant gets beside others, and how fast its runs start."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from runs.domain.run_shares import RunDemand, share

USUAL_RUNS = 100
"""How many runs of a tenant are under way at once while no worker of their task queue is known."""


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
        demands = self.demands.get(task_queue, ())
        others = (one for one in demands if one.tenant_id != self.tenant_id)
        own = self.own_steps.get(task_queue, 0)
        divided = max(room, most) - own
        return min(most, own + share(divided, self.weight, others)) if divided else most


USUAL = TenantLimits()

LimitsOf: TypeAlias = Callable[[str], TenantLimits]
"""Says which limits a tenant has."""


def usual_limits(_: str) -> TenantLimits:
    """Return what every tenant has for whom nothing else was set."""
    return USUAL
