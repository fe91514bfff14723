"""The rules of mapped steps: conditions of elements, and what they use of each other's elements."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runs.domain.conditions import condition_fault
from runs.domain.pipelines import INPUT
from servicekit.errors import Violation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runs.domain.lists import Steps
    from runs.domain.pipelines import StepSpec


def element_condition_faults(at: str, step: StepSpec) -> Iterator[Violation]:
    """Yield what is wrong with the condition of a mapped step's elements."""
    if step.map is None or not step.map.when:
        return
    fault = condition_fault(step.map.when, (*step.needs, INPUT))
    if fault is not None:
        yield Violation(f"{at}.map.when", fault)


def element_output_faults(
    at: str, source: str, step: StepSpec, by_name: Steps
) -> Iterator[Violation]:
    """Yield why a step cannot use what belongs to its own element of another step's outputs."""
    if step.map is None:
        yield Violation(at, "the step has no `map`; bind `output` instead")
    elif source in step.needs and source in by_name and not _related(step, source, by_name):
        fault = f"{source} is not mapped over the same list; bind `output` instead"
        yield Violation(f"{at}.step", fault)


def function_element_faults(
    at: str, source: str, step: StepSpec, by_name: Steps
) -> Iterator[Violation]:
    """Yield why a function cannot get what belongs to its own element of another step's outputs."""
    if step.map is None:
        yield Violation(at, "the step has no `map`: leave this out, it gets whole outputs")
    elif source not in step.needs:
        yield Violation(at, f"{source} is not needed; add it to the step's `needs`")
    elif source in by_name and not _related(step, source, by_name):
        fault = f"{source} is not mapped over the same list: all get its output; leave this out"
        yield Violation(at, fault)


def manifest_faults(at: str, source: str, step: StepSpec, by_name: Steps) -> Iterator[Violation]:
    """Yield why a step cannot use the manifest of another one."""
    if source not in step.needs:
        yield Violation(at, f"{source} is not needed; add it to the step's `needs`")
    elif source in by_name and by_name[source].map is None:
        yield Violation(at, f"{source} is not mapped, so it has no manifest")


def _related(step: StepSpec, source: str, by_name: Steps) -> bool:
    return by_name.relation(step.step, source) is not None
