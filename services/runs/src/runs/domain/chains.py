"""Chains of steps: the nodes of a run's graph. One activity walks a chain, step by step."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from runs.domain.loops import loop_bodies

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
    def parallel(self) -> int:
        """Return how many of its elements are done at once; as many as usual when 0."""
        return min((step.parallel for step in self.steps if step.parallel), default=0)

    @property
    def asks(self) -> bool:
        """Whether it is a single step that waits for a person."""
        return self.steps[0].kind == "approval"

    @property
    def short(self) -> bool:
        """Whether all of its steps are short."""
        return all(step.short for step in self.steps)


@dataclass(frozen=True, slots=True)
class RepeatedChains:
    """The chains of a loop's body, which are done again together."""

    name: str
    """The last step of the body: it decides whether they are done again."""
    chains: tuple[Chain, ...]
    """Each after those of them that it needs, and it names no others."""
    needs: tuple[str, ...]
    """The chains and loops that must be done before, by name."""


def chains(plan: Plan) -> tuple[Chain | RepeatedChains, ...]:
    """Divide a plan into chains, and those in loops into loops, each after all that it needs.

    Two steps are in one chain if no other step would wait longer for that, and both are in the same
    loop or in none.
    """
    repeats = {step.step: step.loop_from for step in plan.steps if step.loop_from is not None}
    bodies = loop_bodies({step.step: step.needs for step in plan.steps}, repeats)
    loop_of = {step: body.last for body in bodies for step in body.steps}
    graph = _Graph(plan, loop_of)
    building: dict[str, list[PlanStep]] = {}  # by the name of the last step
    for step in plan.steps:
        joined = (name for name in step.needs if graph.joins(step, name, building.get(name, ())))
        last = next(joined, None)
        building[step.step] = [*(() if last is None else building.pop(last)), step]
    divided = _in_order(plan, list(building.values()))
    return _repeated(divided, loop_of) if loop_of else divided


def _repeated(
    divided: Sequence[Chain], loop_of: Mapping[str, str]
) -> tuple[Chain | RepeatedChains, ...]:
    """Put chains of one loop together, and everything after what it needs."""
    inside: dict[str, list[Chain]] = defaultdict(list)
    nodes: dict[str, Chain | RepeatedChains] = {}
    for chain in divided:
        node = loop_of.get(chain.name, chain.name)
        needs = tuple(dict.fromkeys(loop_of.get(name, name) for name in chain.needs))
        if node == chain.name and chain.name not in loop_of:
            nodes[node] = replace(chain, needs=needs)
            continue
        own = tuple(name for name in chain.needs if loop_of.get(name) == node)
        inside[node].append(replace(chain, needs=own))
        others = () if (known := nodes.get(node)) is None else known.needs
        outer = dict.fromkeys((*others, *(name for name in needs if name != node)))
        nodes[node] = RepeatedChains(node, tuple(inside[node]), tuple(outer))
    placed: dict[str, Chain | RepeatedChains] = {}
    while len(placed) < len(nodes):
        free = (n for n in nodes.values() if n.name not in placed and placed.keys() >= {*n.needs})
        node_ = next(free)
        placed[node_.name] = node_
    return tuple(placed.values())


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

    def __init__(self, plan: Plan, loop_of: Mapping[str, str]) -> None:
        self._loop_of = loop_of
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
            and self._loop_of.get(step.step) == self._loop_of.get(last)
            and waits_for_nothing_else
            and nobody_else_waits
            and size <= NAMES_LIMIT
            and _of_one_kind(step, steps)
        )

    def _is_before(self, name: str, other: str) -> bool:
        return bool(self._bits[name] & self._before[other])


def _of_one_kind(step: PlanStep, steps: Sequence[PlanStep]) -> bool:
    if "approval" in (step.kind, steps[0].kind):
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
