"""Pipelines: the steps of runs, in versions that never change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runs.domain.prompts import PromptRequirement

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from jsonvalues import JsonMapping
    from runs.domain.models import ModelChoice, ModelRequirement

INPUT = "input"
"""The name of what a run was given; no step has it, every step may need it."""


@dataclass(frozen=True, slots=True)
class Text:
    """A fixed text."""

    text: str


@dataclass(frozen=True, slots=True)
class Output:
    """A step's output, or a JSON value inside it."""

    step: str
    json_pointer: str = ""


@dataclass(frozen=True, slots=True)
class Element:
    """The element of the list that the step is mapped over, or a JSON value inside it."""

    json_pointer: str = ""


@dataclass(frozen=True, slots=True)
class ElementOutput:
    """The same element's output of another step that is mapped over the same list."""

    step: str
    json_pointer: str = ""


BoundValue = Text | Output | Element | ElementOutput


@dataclass(frozen=True, slots=True)
class Binding:
    """What one variable of a prompt stands for."""

    variable: str
    value: BoundValue


@dataclass(frozen=True, slots=True)
class LlmStep:
    """Asks a model; the reply's content is the output."""

    prompt_version: int
    """The version of the step's prompt; 0 is the one that is active when a run is created."""
    bindings: tuple[Binding, ...]
    model: ModelChoice | None
    output_schema: JsonMapping | None
    max_output_tokens: int
    redo_unknown: bool
    """Whether a call is sent again when its outcome is unknown; otherwise the step fails."""
    allow_empty: bool = False
    """Whether an empty text is an output; otherwise an empty reply fails the step."""


@dataclass(frozen=True, slots=True)
class FunctionStep:
    """Calls an entry point of the group `nagaya.functions`."""

    function: str
    arguments: JsonMapping
    short: bool
    element_outputs: tuple[str, ...] = ()
    """Mapped steps of which the function gets the same element's output only."""


@dataclass(frozen=True, slots=True)
class MapSpec:
    """The list that a step is done for, element by element."""

    step: str
    json_pointer: str


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a step is tried, and the pause before the second attempt."""

    max_attempts: int
    backoff_ms: int


@dataclass(frozen=True, slots=True)
class StepSpec:
    """A step of a pipeline."""

    step: str
    needs: tuple[str, ...]
    kind: LlmStep | FunctionStep
    map: MapSpec | None
    when: str
    """A condition in CEL; empty when the step is never skipped."""
    timeout_seconds: int
    retry: Retry
    metrics: Mapping[str, str]
    """JSON pointers to numbers in the output, by the metric's name."""


def element_needs(step: StepSpec, steps: Mapping[str, StepSpec]) -> frozenset[str]:
    """Return the steps of which a mapped step uses nothing but the same element's output.

    They are mapped over the same list, or the step is mapped over their outputs. `steps` holds at
    least those that the step needs.
    """
    if step.map is None or step.when:
        return frozenset()
    found: set[str] = set()
    for name in step.needs:
        other = steps.get(name)
        if other is None or other.map is None or _uses_all(step.kind, name):
            continue
        if step.map in (other.map, MapSpec(name, "")):
            found.add(name)
    return frozenset(found)


def _uses_all(kind: LlmStep | FunctionStep, needed: str) -> bool:
    """Return whether a step may use the outputs of all elements of a mapped step."""
    if isinstance(kind, FunctionStep):
        return needed not in kind.element_outputs
    outputs = (each.value for each in kind.bindings if isinstance(each.value, Output))
    return any(output.step == needed for output in outputs)


@dataclass(frozen=True, slots=True)
class PipelineSpec:
    """The steps of a pipeline, in any order."""

    steps: tuple[StepSpec, ...]

    def step(self, name: str) -> StepSpec:
        """Return the step of this name. Raises KeyError."""
        for step in self.steps:
            if step.step == name:
                return step
        raise KeyError(name)

    def prompts(self) -> tuple[PromptRequirement, ...]:
        """Return what each llm step asks of its prompt."""
        return tuple(
            PromptRequirement(
                step.step,
                step.kind.prompt_version,
                tuple(binding.variable for binding in step.kind.bindings),
            )
            for step in self.steps
            if isinstance(step.kind, LlmStep)
        )


@dataclass(frozen=True, slots=True)
class PipelineVersion:
    """A version of a pipeline; it never changes."""

    pipeline: str
    version: int
    spec: PipelineSpec
    digest: str
    plan_size_bytes: int
    create_time: datetime


@dataclass(frozen=True, slots=True)
class PipelineSummary:
    """What creating a run needs of a version, without its spec."""

    pipeline: str
    version: int
    steps: frozenset[str]
    prompts: tuple[PromptRequirement, ...]
    models: tuple[ModelRequirement, ...]
    plan: list[Any]
    """The plan as Plan.compact returns it."""
