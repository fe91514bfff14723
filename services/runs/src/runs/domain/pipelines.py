"""Pipelines: the steps of runs, in versions that never change."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

from runs.domain.installed import CodeNeeds
from runs.domain.loops import Loop, loop_bodies
from runs.domain.prompts import PromptRequirement

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from jsonvalues import JsonMapping
    from runs.domain.approvals import OnTimeout
    from runs.domain.graph_specs import GraphSpec, NodeStep
    from runs.domain.loops import Repeat
    from runs.domain.models import ModelChoice, ModelRequirement

INPUT = "input"
"""The name of what a run was given; no step has it, every step may need it."""


@dataclass(frozen=True, slots=True)
class FixedText:
    """A fixed text."""

    text: str


@dataclass(frozen=True, slots=True)
class Output:
    """A step's output, or a JSON value inside it."""

    step: str
    json_pointer: str = ""
    previous_visit: bool = False
    """Whether it is the newest output that the step has left in the visits before this one."""
    first_visit_step: str = ""
    """Whose output it is where there is none before; nothing where this is empty."""
    first_visit_json_pointer: str = ""


@dataclass(frozen=True, slots=True)
class Element:
    """The element of the list that the step is mapped over, or a JSON value inside it."""

    json_pointer: str = ""


@dataclass(frozen=True, slots=True)
class ElementOutput:
    """What belongs to the step's own element of another mapped step's outputs: of one over the same
    list the same element's, of one over the outer list that of the outer element, and of one over
    lists inside of the element those of all of its elements.
    """

    step: str
    json_pointer: str = ""


@dataclass(frozen=True, slots=True)
class FirstOutput:
    """The output of the first of some steps that was not skipped."""

    outputs: tuple[Output, ...]


@dataclass(frozen=True, slots=True)
class FirstElementOutput:
    """The same of the outputs that belong to the step's own element."""

    outputs: tuple[ElementOutput, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What names the outputs of a mapped step and the elements that failed."""

    step: str
    json_pointer: str = ""


BoundValue = (
    FixedText | Output | Element | ElementOutput | FirstOutput | FirstElementOutput | Manifest
)


@dataclass(frozen=True, slots=True)
class VariableBinding:
    """What one variable of a prompt stands for."""

    variable: str
    value: BoundValue


@dataclass(frozen=True, slots=True)
class LlmStep:
    """Asks a model; the reply's content is the output."""

    prompt_version: int
    """The version of the step's prompt; 0 is the one that `prompt_label` or else the active one is
    when a run is created.
    """
    bindings: tuple[VariableBinding, ...]
    model: ModelChoice | None
    output_schema: JsonMapping | None
    max_output_tokens: int
    redo_unknown: bool
    """Whether a call is sent again when its outcome is unknown; otherwise the step fails."""
    allow_empty: bool = False
    """Whether an empty text is an output; otherwise an empty reply fails the step."""
    prompt: str = ""
    """The prompt's name; that of the step when empty."""
    prompt_label: str = ""
    """The label that chooses the prompt's version; the active one when empty."""


@dataclass(frozen=True, slots=True)
class FunctionStep:
    """Calls an entry point of the group `nagaya.functions`."""

    function: str
    arguments: JsonMapping
    short: bool
    element_outputs: tuple[str, ...] = ()
    """Mapped steps of which the function gets what belongs to its own element only."""
    manifests: tuple[str, ...] = ()
    """Mapped steps of which the function gets the manifest in the place of the outputs."""
    previous_visits: tuple[str, ...] = ()
    """Steps of the same loop of which the function gets the newest output of the visits before."""


@dataclass(frozen=True, slots=True)
class ApprovalStep:
    """Asks a person; the decision is the output."""

    question: str
    subjects: tuple[Output, ...]
    """What is to be looked at."""
    user_ids: tuple[str, ...]
    permissions: tuple[str, ...]
    """Who may decide, beside those of `user_ids`; everybody where both are empty."""
    excludes_creator: bool
    """Whether the person who created the run may not."""
    comment_required: bool
    timeout_seconds: int
    """0 when the decision is waited for without end."""
    on_timeout: OnTimeout
    goes_on_when_rejected: bool
    """Whether the run goes on when it is rejected; otherwise the step fails."""


StepKind: TypeAlias = "LlmStep | FunctionStep | ApprovalStep | NodeStep"


@dataclass(frozen=True, slots=True)
class AllowedFailures:
    """How many elements of a map may fail: so many, or so many of a hundred, rounded down."""

    count: int = 0
    percent: float = 0.0

    def of(self, elements: int) -> int:
        """Return how many of so many elements may fail."""
        return max(self.count, math.floor(elements * self.percent / 100 + 1e-9))


@dataclass(frozen=True, slots=True)
class MapSpec:
    """The list that a step is done for, element by element."""

    step: str
    json_pointer: str
    """Where the list is in the step's output; of a mapped step, where one is in each of its
    elements' outputs, or empty where these outputs are the elements."""
    when: str = ""
    """A condition in CEL for each element; empty when none is skipped."""
    allowed: AllowedFailures = AllowedFailures()
    parallel: int = 0
    """How many elements are done at once; 50 when 0."""


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
    kind: StepKind
    map: MapSpec | None
    when: str
    """A condition in CEL; empty when the step is never skipped."""
    timeout_seconds: int
    retry: Retry
    metrics: Mapping[str, str]
    """JSON pointers to numbers in the output, by the metric's name."""
    values: Mapping[str, str] = field(default_factory=dict[str, str])
    """JSON pointers to short texts and booleans in the output, by the value's name."""
    repeat: Repeat | None = None
    """Whether the step ends a loop, and when that goes on."""


@dataclass(frozen=True)  # without slots: `loops` is found out once
class PipelineSpec:
    """The steps of a pipeline, in any order; those of a graph are about its nodes."""

    steps: tuple[StepSpec, ...]
    graph: GraphSpec | None = None
    task_queue: str = ""
    """Whose workers do its runs; the common ones when empty."""

    @cached_property
    def loops(self) -> Mapping[str, Loop]:
        """Return each step's loop, of steps that are in one; the spec's rules have been checked."""
        ends = {step.step: step.repeat for step in self.steps if step.repeat is not None}
        if not ends:
            return {}
        names = {step.step for step in self.steps}
        needs = {step.step: [name for name in step.needs if name in names] for step in self.steps}
        bodies = loop_bodies(needs, {last: end.from_step for last, end in ends.items()})
        return {
            step: Loop(body, ends[body.last], body.steps | {*needs[body.last]})
            for body in bodies
            for step in body.steps
        }

    def step(self, name: str) -> StepSpec:
        """Return the step of this name. Raises KeyError."""
        for step in self.steps:
            if step.step == name:
                return step
        raise KeyError(name)

    def code_needs(self) -> CodeNeeds:
        """Return what is to be installed beside the workers."""
        functions = {
            step.step: step.kind.function
            for step in self.steps
            if isinstance(step.kind, FunctionStep)
        }
        if self.graph is None:
            return CodeNeeds(self.task_queue, functions)
        nodes = tuple(step.step for step in self.steps if not isinstance(step.kind, ApprovalStep))
        return CodeNeeds(self.task_queue, {}, self.graph.graph, nodes)

    def prompts(self) -> tuple[PromptRequirement, ...]:
        """Return what each llm step asks of its prompt; a node says the variables later."""
        return tuple(
            PromptRequirement(
                step.step,
                step.kind.prompt_version,
                None if self.graph else tuple(binding.variable for binding in step.kind.bindings),
                step.kind.prompt or step.step,
                step.kind.prompt_label,
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
    code_needs: CodeNeeds
    """What is to be installed beside the workers that do its runs."""
