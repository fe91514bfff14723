"""What a mapped step uses of other mapped steps: all of their outputs, or those of its own element.

An element is done once what it uses of its own is done. It is left out where that has failed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runs.domain.conditions import condition_names, name_in_condition
from runs.domain.lists import Relation
from runs.domain.pipelines import FirstOutput, FunctionStep, LlmStep, Manifest, Output

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runs.domain.lists import Steps
    from runs.domain.pipelines import StepSpec


def element_needs(step: StepSpec, steps: Steps) -> frozenset[str]:
    """Return the steps of which a mapped step uses nothing but the same element's output.

    They are mapped over the same list.
    """
    if step.map is None:
        return frozenset()
    return frozenset(
        name
        for name in step.needs
        if steps.relation(step.step, name) is Relation.SAME and not uses_all(step, name)
    )


def element_uses(step: StepSpec, steps: Steps) -> dict[str, Relation]:
    """Return the mapped steps of which a mapped step uses what belongs to its own element.

    Among them are the step that it is mapped over and those that the condition of its elements
    names; they may be used as a whole, too.
    """
    over = step.map
    if over is None:
        return {}
    named = condition_names(over.when)
    uses: dict[str, Relation] = {}
    for name in dict.fromkeys((*step.needs, over.step)):
        related = steps.relation(step.step, name)
        by_condition = name_in_condition(name) in named and related is not Relation.INNER
        if related and (name == over.step or by_condition or not uses_all(step, name)):
            uses[name] = related
    for name in [name for name, related in uses.items() if related is Relation.INNER]:
        inner = steps.list_of(name)
        if inner is not None:
            uses.setdefault(inner.step, Relation.SAME)
    return uses


def needs_sizes(step: StepSpec, steps: Steps) -> bool:
    """Return whether it has to be known how long the lists are that a step is mapped over.

    It goes through lists within outputs, or a share of its elements may fail.
    """
    over = step.map
    if over is None:
        return False
    inner = over.json_pointer and over.step in steps and steps[over.step].map is not None
    return bool(inner) or over.allowed.percent > 0


def uses_all(step: StepSpec, needed: str) -> bool:
    """Return whether a step may use the outputs of all elements of a mapped one."""
    if isinstance(step.kind, FunctionStep):
        return needed not in step.kind.element_outputs
    return needed in _whole_outputs(step)


def _whole_outputs(step: StepSpec) -> Iterator[str]:
    if not isinstance(step.kind, LlmStep):
        return
    for binding in step.kind.bindings:
        match binding.value:
            case Output(name) | Manifest(name):
                yield name
            case FirstOutput(outputs):
                yield from (output.step for output in outputs)
            case _:
                pass
