"""Forks: runs that take over what another run has done, and do the rest anew.

Which steps are done again is decided when the fork is created, as far as the pipeline tells. What
a different input changes is decided when the fork begins and both inputs can be read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from jsonvalues import NothingThere, at, canonical
from runs.domain.element_uses import element_needs
from runs.domain.lists import Steps
from runs.domain.pipelines import INPUT, FirstOutput, FunctionStep, LlmStep, Output
from runs.domain.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from jsonvalues import JsonValue
    from runs.domain.pipelines import PipelineSpec, StepSpec

BUILT_IN = frozenset({"collect", "constant", "element"})
"""The functions that use nothing but what their step needs."""

Elements: TypeAlias = "frozenset[int]"
"""Numbers of elements of a mapped step; none stands for the whole step."""

WHOLE: Elements = frozenset()
_INPUT_IN_CONDITION = re.compile(rf"\b{INPUT}\b")


@dataclass(frozen=True, slots=True)
class Fork:
    """What a run takes over."""

    run_id: str
    """The run that it takes from."""
    again: Mapping[str, Elements]
    """The steps that are done again whatever the input is."""
    models: frozenset[str] = frozenset()
    """The steps whose model the fork chooses, also where the pipeline names one."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """The inputs of a run and of the one that it takes from, if they differ."""

    old: JsonValue
    new: JsonValue
    readable: bool = True
    """Whether they are known; otherwise every value in them counts as changed."""


@dataclass(frozen=True, slots=True)
class Reuse:
    """Which elements of a step come from which of the other run's."""

    by_element: Mapping[int, tuple[int, ...]] | None = None
    """The numbers here, by the number there; None where each has the number that it had."""
    again: Elements = frozenset()
    """Those that are done again, by their number here."""

    def places(self, item: int) -> tuple[int, ...]:
        """Return the numbers here of what was element `item` there; a step that is not mapped has
        number 0.
        """
        here = (item,) if self.by_element is None else self.by_element.get(item, ())
        return tuple(number for number in here if number not in self.again)


def steps_done_again(
    spec: PipelineSpec, chosen: Mapping[str, Collection[int]]
) -> dict[str, Elements]:
    """Return the chosen steps or elements, and what uses their outputs.

    A step that uses nothing but the same element's output is done again for the same elements. A
    loop is done again as a whole.
    """
    steps, bodies = Steps(spec.steps), _loop_bodies(spec)
    again: dict[str, Elements] = {name: frozenset(items) for name, items in chosen.items()}
    while True:
        before = dict(again)
        for step in spec.steps:
            for needed in _used(step):
                if needed in again:
                    _add(again, step.step, _spread(step, needed, again[needed], steps))
        for body in bodies:
            if body & again.keys():
                again |= dict.fromkeys(body, WHOLE)
        if again == before:
            return again


def reused_steps(
    spec: PipelineSpec, again: Mapping[str, Elements], inputs: Inputs | None
) -> dict[str, Reuse]:
    """Return which steps are reused, and which of their elements.

    `inputs` are the two inputs where they differ. A step that uses a value of the input which is
    another one now is done again, and so is what uses its output. Of a step that is mapped over a
    list of the input, elements whose values are in both lists are reused.
    """
    bodies = _loop_bodies(spec)
    while True:
        found = _found(spec, again, inputs)
        torn = {name for body in bodies if not body <= found.keys() for name in body & found.keys()}
        if not torn:
            return found
        again = {**again, **dict.fromkeys(torn, WHOLE)}


def _loop_bodies(spec: PipelineSpec) -> frozenset[frozenset[str]]:
    return frozenset(loop.body.steps for loop in spec.loops.values())


def _found(
    spec: PipelineSpec, again: Mapping[str, Elements], inputs: Inputs | None
) -> dict[str, Reuse]:
    steps = Steps(spec.steps)
    found: dict[str, Reuse] = {}
    for name in (step.step for step in Plan.of(spec).steps):
        reuse = _reuse(steps[name], steps, again.get(name), inputs, found)
        if reuse is not None:
            found[name] = reuse
    return found


def _reuse(
    step: StepSpec,
    steps: Steps,
    again: Elements | None,
    inputs: Inputs | None,
    found: Mapping[str, Reuse],
) -> Reuse | None:
    if again == WHOLE or (inputs is not None and _reads_changed(step, inputs)):
        return None
    reuse = Reuse(again=again or frozenset())
    numbered = step.map is not None and inputs is not None and step.map.step == INPUT
    if numbered and step.map is not None and inputs is not None:
        matched = _matched(inputs, step.map.json_pointer)
        if matched is None:
            return None
        reuse = Reuse(matched, reuse.again)
    by_element = element_needs(step, steps)
    for needed in _used(step):
        other = found.get(needed)
        if other is None or (other != Reuse() and needed not in by_element):
            return None
        if other == Reuse():
            continue
        if numbered and other.by_element != reuse.by_element:
            return None
        reuse, numbered = Reuse(other.by_element, reuse.again | other.again), True
    return reuse


def _used(step: StepSpec) -> frozenset[str]:
    """Return the steps whose outputs a step may use."""
    mapped_over = () if step.map is None else (step.map.step,)
    return frozenset((*step.needs, *mapped_over)) - {INPUT}


def _spread(step: StepSpec, needed: str, elements: Elements, steps: Steps) -> Elements:
    return elements if needed in element_needs(step, steps) else WHOLE


def _add(again: dict[str, Elements], step: str, elements: Elements) -> None:
    known = again.get(step)
    if known is None:
        again[step] = elements
    elif known and elements:
        again[step] = known | elements
    else:
        again[step] = WHOLE


def _reads_changed(step: StepSpec, inputs: Inputs) -> bool:
    """Return whether a step uses a value of the input that is another one now.

    Elements of a list that the step is mapped over are not meant.
    """
    conditions = (step.when, "" if step.map is None else step.map.when)
    if any(map(_INPUT_IN_CONDITION.search, conditions)):
        return True
    match step.kind:
        case LlmStep():
            return any(not _same_value(inputs, pointer) for pointer in _pointers(step.kind))
        case FunctionStep(function=function) if function in BUILT_IN:
            return INPUT in step.needs
        case _:
            return True  # others may read whatever they are given


def _pointers(llm: LlmStep) -> Iterator[str]:
    """Yield the JSON pointers of the input's values that an llm step binds."""
    for binding in llm.bindings:
        match binding.value:
            case Output(step, json_pointer) if step == INPUT:
                yield json_pointer
            case FirstOutput(outputs):
                yield from (output.json_pointer for output in outputs if output.step == INPUT)
            case _:
                pass


def _same_value(inputs: Inputs, json_pointer: str) -> bool:
    try:
        old, new = at(inputs.old, json_pointer), at(inputs.new, json_pointer)
    except NothingThere:
        return False
    return inputs.readable and canonical(old) == canonical(new)


def _matched(inputs: Inputs, json_pointer: str) -> dict[int, tuple[int, ...]] | None:
    """Return the places of elements in the new list by their place in the old one; None where
    there are no two lists.

    An element that stays at its place is taken from there, another one from the first equal one.
    """
    old, new = _list_at(inputs.old, json_pointer), _list_at(inputs.new, json_pointer)
    if old is None or new is None:
        return None
    texts = [canonical(element) for element in old]
    first = {text: number for number, text in reversed([*enumerate(texts, 1)])}
    places: dict[int, list[int]] = {}
    for number, element in enumerate(new, 1):
        text = canonical(element)
        stays = number <= len(texts) and texts[number - 1] == text
        source = number if stays else first.get(text)
        if source is not None:
            places.setdefault(source, []).append(number)
    return {source: tuple(numbers) for source, numbers in places.items()}


def _list_at(value: JsonValue, json_pointer: str) -> Sequence[JsonValue] | None:
    try:
        found = at(value, json_pointer)
    except NothingThere:
        return None
    return found if isinstance(found, Sequence) and not isinstance(found, str) else None


def fork_json(fork: Fork) -> dict[str, JsonValue]:
    """Return the part of a run's config that says what it takes over."""
    again = {step: sorted(elements) for step, elements in fork.again.items()}
    return {"run_id": fork.run_id, "again": again, "models": sorted(fork.models)}


def fork_from_json(content: Mapping[str, Any]) -> Fork:
    """Return what `fork_json` was called with."""
    again: Mapping[str, list[int]] = content["again"]
    return Fork(
        content["run_id"],
        {step: frozenset(items) for step, items in again.items()},
        frozenset(content["models"]),
    )
