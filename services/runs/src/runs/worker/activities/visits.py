"""Visits of loops: whose outputs a step uses."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING

from runs.domain.loops import MOST_VISITS
from runs.domain.pipelines import FunctionStep, LlmStep, Output
from runs.store import steps

if TYPE_CHECKING:
    from collections.abc import Set

    from dataplane.tenants import TenantPools
    from runs.domain.activities import RunRef, StepRef
    from runs.domain.pipelines import PipelineSpec, StepSpec
    from runs.domain.steps import RunStep

_CACHED_ROWS = 2_000


class VisitFinder:
    """Finds the visits whose outputs steps use. What it finds never changes, so it is cached."""

    def __init__(self, tenants: TenantPools) -> None:
        self._tenants = tenants
        self._rows: OrderedDict[tuple[RunRef, str, int], RunStep | None] = OrderedDict()

    async def used(self, pipeline: PipelineSpec, ref: StepRef, names: Set[str]) -> dict[str, int]:
        """Return of which visit a step uses the outputs of others, by step: in its own loop that of
        the same visit; of a loop that has been left the newest one with an output.
        """
        loops = pipeline.loops
        if not loops:
            return dict.fromkeys(names, 1)
        own = loops.get(ref.step)
        left = {step for step in names if (loop := loops.get(step)) is not None and loop != own}
        newest = await self.newest(ref.run, left)
        visits = {step: ref.visit if step in loops else 1 for step in names - left}
        return visits | {step: newest[step].visit if step in newest else 1 for step in left}

    async def whole(self, pipeline: PipelineSpec, ref: StepRef, name: str) -> StepRef:
        """Return another step as a whole, of the visit whose outputs a step uses."""
        visits = await self.used(pipeline, ref, {name})
        return replace(ref, step=name, item=0, visit=visits[name])

    async def newest(
        self, run: RunRef, names: Set[str], before: int = MOST_VISITS + 1
    ) -> dict[str, RunStep]:
        """Return the row with the newest output of each of the steps that has left one, by step.

        Of visits before `before`, which must be over.
        """
        unknown = {step for step in names if (run, step, before) not in self._rows}
        if unknown:
            async with self._tenants.connection(run.tenant_id) as connection:
                found = await steps.newest(connection, run.run_id, unknown, before)
            self._rows |= {(run, step, before): found.get(step) for step in unknown}
            while len(self._rows) > _CACHED_ROWS:
                self._rows.popitem(last=False)
        return {step: row for step in names if (row := self._rows[run, step, before])}


def previous_steps(spec: StepSpec) -> frozenset[str]:
    """Return the steps of which a step uses the newest output of the visits before."""
    if isinstance(spec.kind, FunctionStep):
        return frozenset(spec.kind.previous_visits)
    if not isinstance(spec.kind, LlmStep):
        return frozenset()
    values = (binding.value for binding in spec.kind.bindings)
    return frozenset(
        value.step for value in values if isinstance(value, Output) and value.previous_visit
    )
