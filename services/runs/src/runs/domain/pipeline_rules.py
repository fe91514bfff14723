"""What a pipeline must keep to. All faults are found together, each with its field and a hint."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from runs.domain.conditions import condition_fault
from runs.domain.pipelines import (
    INPUT,
    Binding,
    Element,
    ElementOutput,
    LlmStep,
    Output,
    PipelineSpec,
    StepSpec,
)
from servicekit.errors import Violation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_POINTER = re.compile(r"(/([^~]|~[01])*)?", re.DOTALL)

COUNTED = frozenset({"bytes", "characters", "input_tokens", "output_tokens"})
"""Metrics that every output has without being asked."""


def violations(spec: PipelineSpec) -> tuple[Violation, ...]:
    """Return every fault of a spec, in the order of its steps."""
    by_name: dict[str, StepSpec] = {}
    for step in spec.steps:
        by_name.setdefault(step.step, step)
    found = [
        *(
            fault
            for number, step in enumerate(spec.steps)
            for fault in _step_faults(f"spec.steps[{number}]", step, by_name)
        ),
        *_names_used_twice(spec),
        *_cycles(spec, by_name),
    ]
    return tuple(sorted(found, key=lambda fault: _place(fault.field)))


def _step_faults(at: str, step: StepSpec, by_name: Mapping[str, StepSpec]) -> Iterator[Violation]:
    if step.step == INPUT:
        yield Violation(f"{at}.step", "`input` is the name of what a run is given; use another")
    for number, needed in enumerate(step.needs):
        if needed != INPUT and needed not in by_name:
            fault = f"there is no step {needed}{_perhaps(needed, by_name)}"
            yield Violation(f"{at}.needs[{number}]", fault)
    if step.map is not None:
        yield from _reference(f"{at}.map", step.map.step, step.map.json_pointer, step)
    if step.when:
        fault = condition_fault(step.when, (*step.needs, INPUT))
        if fault is not None:
            yield Violation(f"{at}.when", fault)
    if isinstance(step.kind, LlmStep):
        yield from _llm_faults(f"{at}.llm", step, step.kind, by_name)
    yield from _metric_faults(at, step)


def _llm_faults(
    at: str, step: StepSpec, llm: LlmStep, by_name: Mapping[str, StepSpec]
) -> Iterator[Violation]:
    bound: set[str] = set()
    for number, binding in enumerate(llm.bindings):
        place = f"{at}.bindings[{number}]"
        if binding.variable in bound:
            yield Violation(f"{place}.variable", f"{binding.variable} is bound twice")
        bound.add(binding.variable)
        yield from _binding_faults(place, binding, step, by_name)
    if llm.output_schema is not None:
        fault = _schema_fault(llm.output_schema)
        if fault is not None:
            yield Violation(f"{at}.output_schema", fault)


def _binding_faults(
    at: str, binding: Binding, step: StepSpec, by_name: Mapping[str, StepSpec]
) -> Iterator[Violation]:
    match binding.value:
        case Output(source, pointer):
            yield from _reference(f"{at}.output", source, pointer, step)
        case ElementOutput(source, pointer):
            yield from _reference(f"{at}.element_output", source, pointer, step)
            yield from _same_list(f"{at}.element_output", source, step, by_name)
        case Element(pointer):
            if step.map is None:
                yield Violation(f"{at}.element", "the step has no `map`, so it has no element")
            yield from _pointer_faults(f"{at}.element", pointer)
        case _:
            pass


def _same_list(
    at: str, source: str, step: StepSpec, by_name: Mapping[str, StepSpec]
) -> Iterator[Violation]:
    other = by_name.get(source)
    if step.map is None:
        yield Violation(at, "the step has no `map`; bind `output` instead")
    elif source in step.needs and other is not None and other.map != step.map:
        fault = f"{source} is not mapped over the same list; bind `output` instead"
        yield Violation(f"{at}.step", fault)


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


def _schema_fault(schema: Mapping[str, object]) -> str | None:
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        place = "".join(f"/{part}" for part in error.absolute_path)
        return f"it is no JSON schema: {place or 'the whole of it'} breaks the rule of schemas"
    return None


def _names_used_twice(spec: PipelineSpec) -> Iterator[Violation]:
    first: dict[str, int] = {}
    for number, step in enumerate(spec.steps):
        if first.setdefault(step.step, number) != number:
            fault = f"{step.step} is the name of spec.steps[{first[step.step]}] already"
            yield Violation(f"spec.steps[{number}].step", fault)


def _cycles(spec: PipelineSpec, by_name: Mapping[str, StepSpec]) -> Iterator[Violation]:
    """Name each cycle once, at the need that closes it."""
    done: set[str] = set()
    for start in spec.steps:
        path: list[str] = []
        stack: list[tuple[str, Iterator[str]]] = []
        _enter(start.step, by_name, done, path, stack)
        while stack:
            name, needs = stack[-1]
            needed = next(needs, None)
            if needed is None:
                stack.pop()
                done.add(path.pop())
            elif needed in path:
                yield _cycle(spec, name, needed, path)
            else:
                _enter(needed, by_name, done, path, stack)


def _enter(
    name: str,
    by_name: Mapping[str, StepSpec],
    done: set[str],
    path: list[str],
    stack: list[tuple[str, Iterator[str]]],
) -> None:
    if name in by_name and name not in done:
        path.append(name)
        stack.append((name, iter(by_name[name].needs)))


def _cycle(spec: PipelineSpec, name: str, needed: str, path: list[str]) -> Violation:
    number = next(n for n, step in enumerate(spec.steps) if step.step == name)
    place = spec.steps[number].needs.index(needed)
    around = " needs ".join([*path[path.index(needed) :], needed])
    return Violation(f"spec.steps[{number}].needs[{place}]", f"a cycle: {around}")


def _perhaps(name: str, known: Mapping[str, StepSpec]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _place(field: str) -> tuple[int, str]:
    """Order fields by the number of their step, then by name."""
    return int(field.split("[", 1)[1].split("]", 1)[0]), field
