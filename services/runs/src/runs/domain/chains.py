"""Chains of steps: the nodes of a run's graph. One activity walks a chain, step by step."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runs.domain.plan import Plan, PlanStep

NAMES_LIMIT = 2_048
"""The most bytes that the names of a chain's steps take: they are an activity's argument."""


@dataclass(frozen=True, slots=True)
class Chain:
    """Steps one after another, none of which waits for anything that the one before did not.

    Either none of them is mapped, or all are, and then each needs of the others nothing but the
    same element's output: so they are done for one element after another.
    """

    steps: tuple[PlanStep, ...]
    needs: tuple[str, ...]
    """The chains that must be done before, by name, in the plan's order."""

    @property
    def name(self) -> str:
        """Return the name of its first step."""
        return self.steps[0].step

    @property
    def mapped(self) -> bool:
        return self.steps[0].map_step is not None

    @property
    def short(self) -> bool:
        """Whether all of its steps are short."""
        return all(step.short for step in self.steps)


def chains(plan: Plan) -> tuple[Chain, ...]:
    """Divide a plan into chains, each after all that it needs.

    Two steps are in one chain if no other step would wait longer for that.
    """
    graph = _Graph(plan)
    building: dict[str, list[PlanStep]] = {}  # by the name of the last step
    for step in plan.steps:
        joined = (name for name in step.needs if graph.joins(step, name, building.get(name, ())))
        last = next(joined, None)
        building[step.step] = [*(() if last is None else building.pop(last)), step]
    return _in_order(plan, list(building.values()))


def _in_order(plan: Plan, built: Sequence[Sequence[PlanStep]]) -> tuple[Chain, ...]:
    name_of = {step.step: steps[0].step for steps in built for step in steps}
    by_name = {steps[0].step: steps for steps in built}
    return tuple(
        Chain(tuple(by_name[step.step]), tuple(dict.fromkeys(name_of[n] for n in step.needs)))
        for step in plan.steps
        if step.step in by_name
    )


class _Graph:
    """Who needs whom, directly or not: steps as bits of a number, by their place in the plan."""

    def __init__(self, plan: Plan) -> None:
        self._bits = {step.step: 1 << place for place, step in enumerate(plan.steps)}
        self._before: dict[str, int] = {}
        self._needed_by: Mapping[str, list[str]] = defaultdict(list)
        for step in plan.steps:
            before = 0
            for name in step.needs:
                before |= self._bits[name] | self._before[name]
                self._needed_by[name].append(step.step)
            self._before[step.step] = before

    def joins(self, step: PlanStep, last: str, steps: Sequence[PlanStep]) -> bool:
        """Return whether a step may follow the last one of the chain of `steps`."""
        waits_for_nothing_else = all(
            name == last or self._is_before(name, last) for name in step.needs
        )
        nobody_else_waits = all(
            name == step.step or self._is_before(step.step, name) for name in self._needed_by[last]
        )
        size = sum(len(each.step) for each in (*steps, step))
        return (
            bool(steps)
            and waits_for_nothing_else
            and nobody_else_waits
            and size <= NAMES_LIMIT
            and _of_one_kind(step, steps)
        )

    def _is_before(self, name: str, other: str) -> bool:
        return bool(self._bits[name] & self._before[other])


def _of_one_kind(step: PlanStep, steps: Sequence[PlanStep]) -> bool:
    if any(each.visits != 1 for each in (*steps, step)):
        return False
    if step.map_step is None or steps[0].map_step is None:
        return step.map_step is steps[0].map_step
    names = {each.step for each in steps}
    lists = {(each.map_step, each.map_pointer) for each in steps} | {(name, "") for name in names}
    return (
        not (step.has_when or steps[0].has_when)
        and (step.map_step, step.map_pointer) in lists
        and {*step.needs} & names <= {*step.element_needs}
    )
