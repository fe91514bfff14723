"""Loops of a pipeline: which steps are done again and again, and which loop a step is in."""

from __future__ import annotations

from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

MOST_VISITS = 100
"""The most passes of a loop."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """When a loop is gone through once more, and how often at most."""

    from_step: str
    """The first step of the loop's body; the one that has this is the last."""
    when: str
    """A condition in CEL: another visit begins when it is true after one."""
    max_visits: int
    goes_on_at_limit: bool
    """Whether the run goes on when the condition is still true after the last visit; otherwise it
    fails."""


@dataclass(frozen=True, slots=True)
class LoopBody:
    """The steps that are done again together."""

    first: str
    last: str
    steps: frozenset[str]
    """Those on all paths from the first to the last, both included."""


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop of a pipeline."""

    body: LoopBody
    repeat: Repeat
    facts: frozenset[str]
    """The steps whose numbers its condition may name: those of the body, and those that its last
    step needs."""


def loop_bodies(
    needs: Mapping[str, Collection[str]], repeats: Mapping[str, str]
) -> tuple[LoopBody, ...]:
    """Return the bodies of loops; `repeats` has the first step of each by its last.

    `needs` has every step. A body is empty where its first step does not come before its last.
    Raises CycleError where steps need each other.
    """
    if not repeats:
        return ()
    bits = {name: 1 << place for place, name in enumerate(needs)}
    before: dict[str, int] = {}  # of each step those before it, as bits: that takes little time
    for name in TopologicalSorter(needs).static_order():
        before[name] = 0
        for needed in needs[name]:
            before[name] |= bits[needed] | before[needed]
    found: list[LoopBody] = []
    for last, first in repeats.items():
        until = before[last] | bits[last]
        steps = (
            name
            for name, bit in bits.items()
            if until & bit and (name == first or before[name] & bits[first])
        )
        found.append(LoopBody(first, last, frozenset(steps)))
    return tuple(found)


def waiting_in_a_circle(
    needs: Mapping[str, Collection[str]], bodies: Collection[LoopBody]
) -> Sequence[str]:
    """Return the last steps of loops each of which needs a step of the next; empty without such.

    A step outside of a loop that needs one inside waits until the loop is left.
    """
    node_of = {step: body.last for body in bodies for step in body.steps}
    graph: dict[str, set[str]] = {}
    for step, needed in needs.items():
        node = node_of.get(step, step)
        others = {node_of.get(name, name) for name in needed}
        graph.setdefault(node, set()).update(others - {node})
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        around: list[str] = error.args[1]
        return [name for name in around[1:] if name in node_of]
    return ()
