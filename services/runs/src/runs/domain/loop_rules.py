"""The rules of loops: what their bodies are, and who may use the visit before."""

from __future__ import annotations

from graphlib import CycleError
from typing import TYPE_CHECKING

from runs.domain.conditions import condition_fault
from runs.domain.loops import MOST_VISITS, LoopBody, loop_bodies, waiting_in_a_circle
from runs.domain.pipelines import INPUT, ApprovalStep, FunctionStep, LlmStep, Output
from servicekit.errors import Violation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from runs.domain.pipelines import PipelineSpec, StepSpec


def loop_faults(spec: PipelineSpec, by_name: Mapping[str, StepSpec]) -> Iterator[Violation]:
    """Name the faults of loops. Steps that need each other are named elsewhere, and only they."""
    needs = {
        name: [needed for needed in step.needs if needed in by_name]
        for name, step in by_name.items()
    }
    repeats = {
        step.step: step.repeat.from_step
        for step in by_name.values()
        if step.repeat is not None and step.repeat.from_step in by_name
    }
    try:
        bodies = loop_bodies(needs, repeats)
    except CycleError:
        return
    numbers = {step.step: number for number, step in reversed([*enumerate(spec.steps)])}
    body_of: dict[str, LoopBody] = {}
    for body in bodies:
        yield from _body_faults(f"spec.steps[{numbers[body.last]}].repeat", body, body_of)
        body_of = dict.fromkeys(body.steps, body) | body_of
    if around := waiting_in_a_circle(needs, [*body_of.values()]):
        at = f"spec.steps[{numbers[around[0]]}].repeat"
        fault = f"the loops that end with {' and '.join(sorted(set(around)))} wait for each other"
        yield Violation(at, f"{fault}: what needs a step of a loop waits until it is left")
    for number, step in enumerate(spec.steps):
        yield from _repeat_faults(f"spec.steps[{number}].repeat", step, by_name, body_of)
        yield from _previous_faults(f"spec.steps[{number}]", step, body_of)


def _body_faults(at: str, body: LoopBody, body_of: Mapping[str, LoopBody]) -> Iterator[Violation]:
    if not body.steps:
        fault = f"{body.first} does not come before {body.last}"
        yield Violation(f"{at}.from_step", f"{fault}: go back to a step that this one needs")
    taken = next((step for step in sorted(body.steps) if step in body_of), None)
    if taken is not None:
        fault = f"{taken} is in the loop that ends with {body_of[taken].last} already"
        yield Violation(at, f"{fault}: a step is in one loop at most")


def _repeat_faults(
    at: str,
    step: StepSpec,
    by_name: Mapping[str, StepSpec],
    body_of: Mapping[str, LoopBody],
) -> Iterator[Violation]:
    repeat = step.repeat
    if repeat is None:
        return
    if repeat.from_step not in by_name:
        yield Violation(f"{at}.from_step", f"there is no step {repeat.from_step}")
    if not 2 <= repeat.max_visits <= MOST_VISITS:
        fault = f"a loop has a maximum of visits: 2 to {MOST_VISITS}"
        yield Violation(f"{at}.max_visits", fault)
    if not repeat.when:
        yield Violation(f"{at}.when", "it is missing: say when another visit begins")
    elif step.step in body_of:
        names = {*body_of[step.step].steps, *step.needs, INPUT}
        if fault := condition_fault(repeat.when, sorted(names)):
            yield Violation(f"{at}.when", fault)


def _previous_faults(
    at: str, step: StepSpec, body_of: Mapping[str, LoopBody]
) -> Iterator[Violation]:
    for place, output in _outputs(at, step):
        if isinstance(step.kind, ApprovalStep) and output.previous_visit:
            yield Violation(place, "people are shown outputs of this visit only")
        elif output.previous_visit:
            yield from _same_loop(f"{place}.step", step.step, output.step, body_of)
            first = output.first_visit_step
            if first and first != INPUT and first not in step.needs:
                fault = f"{first} is not needed; add it to the step's `needs`"
                yield Violation(f"{place}.first_visit_step", fault)
        elif output.first_visit_step or output.first_visit_json_pointer:
            yield Violation(place, "it has a first_visit, but no previous_visit: set that")
    if isinstance(step.kind, FunctionStep):
        for number, other in enumerate(step.kind.previous_visits):
            place = f"{at}.function.previous_visits[{number}]"
            yield from _same_loop(place, step.step, other, body_of)
            if other in step.needs:
                fault = f"{other} is needed: the function gets its output of the same visit"
                yield Violation(place, fault)


def _outputs(at: str, step: StepSpec) -> Iterator[tuple[str, Output]]:
    """Yield the outputs that a step names, each with its field."""
    match step.kind:
        case LlmStep(bindings=bindings):
            for number, binding in enumerate(bindings):
                if isinstance(binding.value, Output):
                    yield f"{at}.llm.bindings[{number}].output", binding.value
        case ApprovalStep(subjects=subjects):
            for number, subject in enumerate(subjects):
                yield f"{at}.approval.subjects[{number}]", subject
        case _:
            pass


def _same_loop(
    at: str, step: str, other: str, body_of: Mapping[str, LoopBody]
) -> Iterator[Violation]:
    body = body_of.get(step)
    if body is None or other not in body.steps:
        yield Violation(at, f"{other} is in no loop with {step}, so there is no visit before")
