"""The rules of pipelines. Faults are found together, each with its field and a hint.

The work is linear in the size of the spec: it is done on the event loop that serves every tenant.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from outputschema.rule import SchemaUnusable, check_schema
from runs.domain.approval_rules import approval_faults
from runs.domain.conditions import condition_fault
from runs.domain.cycles import cycle_faults
from runs.domain.graph_specs import NodeStep
from runs.domain.graphs import graph_violations
from runs.domain.lists import Steps
from runs.domain.loop_rules import loop_faults
from runs.domain.map_rules import (
    element_condition_faults,
    element_output_faults,
    function_element_faults,
    manifest_faults,
)
from runs.domain.near_names import did_you_mean
from runs.domain.pipelines import (
    INPUT,
    ApprovalStep,
    Element,
    ElementOutput,
    FirstElementOutput,
    FirstOutput,
    FunctionStep,
    LlmStep,
    Manifest,
    Output,
    PipelineSpec,
    StepKind,
    StepSpec,
    VariableBinding,
)
from servicekit.errors import Violation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jsonvalues import JsonValue

BINDINGS = 1_000
"""The most bindings that all steps of a pipeline may have together."""

VALUES = 10_000
"""The most JSON values in all schemas and arguments of a pipeline together: a list that is as long
as a map may be has its place."""

_MOST_FAULTS = 100  # of each kind of fault: more do not fit into an answer
_GUESSES = 2  # to look for the name that was meant costs more than everything else here
_POINTER = re.compile(r"(/([^~]|~[01])*)?", re.DOTALL)

COUNTED = frozenset({"bytes", "characters", "input_tokens", "output_tokens"})
"""Metrics that every output has without being asked."""


def violations(spec: PipelineSpec) -> tuple[Violation, ...]:
    """Return the faults of a spec, in the order of its steps; of very many only the first."""
    if excess := tuple(_excesses(spec)):
        return excess
    if spec.graph is not None:
        return tuple(islice(graph_violations(spec, spec.graph), _MOST_FAULTS))
    by_name = Steps(spec.steps)
    faults = (
        fault
        for number, step in enumerate(spec.steps)
        for fault in _step_faults(f"spec.steps[{number}]", step, by_name)
    )
    found = [
        *islice(faults, _MOST_FAULTS),
        *islice(_unknown_needs(spec, by_name), _MOST_FAULTS),
        *islice(_names_used_twice(spec), _MOST_FAULTS),
        *islice(cycle_faults(spec, by_name), _MOST_FAULTS),
        *islice(loop_faults(spec, by_name), _MOST_FAULTS),
    ]
    return tuple(sorted(found, key=lambda fault: _place(fault.field)))


def _excesses(spec: PipelineSpec) -> Iterator[Violation]:
    bindings = values = 0
    for number, step in enumerate(spec.steps):
        llm = step.kind if isinstance(step.kind, LlmStep) else None
        bindings += 0 if llm is None else len(llm.bindings)
        if bindings > BINDINGS:
            fault = f"up to here the steps have more than {BINDINGS:,} bindings together"
            yield Violation(f"spec.steps[{number}].llm.bindings", fault)
            return
        given = _given(step.kind)
        values += 0 if given is None else _count(given, VALUES + 1 - values)
        if values > VALUES:
            fault = f"up to here schemas and arguments hold more than {VALUES:,} JSON values"
            yield Violation(f"spec.steps[{number}]", fault)
            return


def _given(kind: StepKind) -> JsonValue:
    match kind:
        case LlmStep():
            return kind.output_schema
        case FunctionStep():
            return kind.arguments
        case _:
            return None


def _count(value: JsonValue, most: int) -> int:
    """Return how many JSON values there are in one, itself included; counts to `most`."""
    left, count = [value], 0
    while left and count < most:
        count += 1
        found = left.pop()
        if isinstance(found, Mapping):
            left.extend(found.values())
        elif isinstance(found, Sequence) and not isinstance(found, str):
            left.extend(found)
    return count


def _unknown_needs(spec: PipelineSpec, by_name: Mapping[str, StepSpec]) -> Iterator[Violation]:
    guesses = _GUESSES
    for number, step in enumerate(spec.steps):
        for place, needed in enumerate(step.needs):
            if needed == INPUT or needed in by_name:
                continue
            perhaps = did_you_mean(needed, by_name) if guesses > 0 else ""
            guesses -= 1
            field = f"spec.steps[{number}].needs[{place}]"
            yield Violation(field, f"there is no step {needed}{perhaps}")


def _step_faults(at: str, step: StepSpec, by_name: Steps) -> Iterator[Violation]:
    if step.step == INPUT:
        yield Violation(f"{at}.step", "`input` is the name of what a run is given; use another")
    if step.map is not None:
        yield from _reference(f"{at}.map", step.map.step, step.map.json_pointer, step)
        yield from element_condition_faults(at, step)
    if step.when:
        fault = condition_fault(step.when, (*step.needs, INPUT))
        if fault is not None:
            yield Violation(f"{at}.when", fault)
    match step.kind:
        case LlmStep():
            yield from _llm_faults(f"{at}.llm", step, step.kind, by_name)
        case FunctionStep():
            yield from _function_faults(f"{at}.function", step, step.kind, by_name)
        case ApprovalStep():
            yield from approval_faults(at, step, step.kind, by_name)
        case NodeStep():
            yield Violation(f"{at}.node", "only a pipeline with a `graph` has nodes")
    yield from _metric_faults(at, step)
    yield from _value_faults(at, step)


def _llm_faults(at: str, step: StepSpec, llm: LlmStep, by_name: Steps) -> Iterator[Violation]:
    bound: set[str] = set()
    for number, binding in enumerate(llm.bindings):
        place = f"{at}.bindings[{number}]"
        if binding.variable in bound:
            yield Violation(f"{place}.variable", f"{binding.variable} is bound twice")
        bound.add(binding.variable)
        yield from _binding_faults(place, binding, step, by_name)
    if llm.prompt_version and llm.prompt_label:
        yield Violation(f"{at}.prompt_label", "`prompt_version` chooses already; leave one out")
    if llm.output_schema is not None:
        try:
            check_schema(llm.output_schema)
        except SchemaUnusable as error:
            yield Violation(f"{at}.output_schema", str(error))


def _function_faults(
    at: str, step: StepSpec, function: FunctionStep, by_name: Steps
) -> Iterator[Violation]:
    for number, source in enumerate(function.element_outputs):
        place = f"{at}.element_outputs[{number}]"
        yield from function_element_faults(place, source, step, by_name)
    for number, source in enumerate(function.manifests):
        yield from manifest_faults(f"{at}.manifests[{number}]", source, step, by_name)
        if source in function.element_outputs:
            fault = f"{source} is among the element_outputs, too; leave it out of one of them"
            yield Violation(f"{at}.manifests[{number}]", fault)


def _binding_faults(
    at: str, binding: VariableBinding, step: StepSpec, by_name: Steps
) -> Iterator[Violation]:
    match binding.value:
        case Output(source, pointer, previous_visit):
            if not previous_visit:  # else loop_rules say whose it may be
                yield from _reference(f"{at}.output", source, pointer, step)
        case ElementOutput(source, pointer):
            yield from _reference(f"{at}.element_output", source, pointer, step)
            yield from element_output_faults(f"{at}.element_output", source, step, by_name)
        case FirstOutput(outputs):
            for number, each in enumerate(outputs):
                place = f"{at}.first_output.outputs[{number}]"
                yield from _reference(place, each.step, each.json_pointer, step)
        case FirstElementOutput(outputs):
            for number, each in enumerate(outputs):
                place = f"{at}.first_element_output.outputs[{number}]"
                yield from _reference(place, each.step, each.json_pointer, step)
                yield from element_output_faults(place, each.step, step, by_name)
        case Manifest(source, pointer):
            yield from manifest_faults(f"{at}.manifest.step", source, step, by_name)
            yield from _pointer_faults(f"{at}.manifest", pointer)
        case Element(pointer):
            if step.map is None:
                yield Violation(f"{at}.element", "the step has no `map`, so it has no element")
            yield from _pointer_faults(f"{at}.element", pointer)
        case _:
            pass


def _reference(at: str, source: str, pointer: str, step: StepSpec) -> Iterator[Violation]:
    if source != INPUT and source not in step.needs:
        yield Violation(f"{at}.step", f"{source} is not needed; add it to the step's `needs`")
    yield from _pointer_faults(at, pointer)


def _pointer_faults(at: str, pointer: str) -> Iterator[Violation]:
    if not _POINTER.fullmatch(pointer):
        yield Violation(f"{at}.json_pointer", "it is no JSON pointer: write `~` as `~0`")


def _metric_faults(at: str, step: StepSpec) -> Iterator[Violation]:
    text = isinstance(step.kind, LlmStep) and step.kind.output_schema is None
    for name, pointer in sorted(step.metrics.items()):
        place = f'{at}.metrics["{name}"]'
        if name in COUNTED:
            yield Violation(place, f"{name} is counted without being asked; use another name")
        if text:
            yield Violation(place, "the output is text; give the step an `output_schema`")
        elif not _POINTER.fullmatch(pointer):
            yield Violation(place, "it is no JSON pointer: write `~` as `~0`")


def _value_faults(at: str, step: StepSpec) -> Iterator[Violation]:
    text = isinstance(step.kind, LlmStep) and step.kind.output_schema is None
    for name, pointer in sorted(step.values.items()):
        place = f'{at}.values["{name}"]'
        if name in COUNTED or name in step.metrics:
            why = "is counted without being asked" if name in COUNTED else "is a metric already"
            yield Violation(place, f"{name} {why}; use another name")
        if text and pointer:
            fault = "the output is text: leave the pointer empty, or give an `output_schema`"
            yield Violation(place, fault)
        elif not _POINTER.fullmatch(pointer):
            yield Violation(place, "it is no JSON pointer: write `~` as `~0`")


def _names_used_twice(spec: PipelineSpec) -> Iterator[Violation]:
    first: dict[str, int] = {}
    for number, step in enumerate(spec.steps):
        if first.setdefault(step.step, number) != number:
            fault = f"{step.step} is the name of spec.steps[{first[step.step]}] already"
            yield Violation(f"spec.steps[{number}].step", fault)


def _place(field: str) -> tuple[int, str]:
    """Order fields by the number of their step, then by name."""
    return int(field.split("[", 1)[1].split("]", 1)[0]), field
