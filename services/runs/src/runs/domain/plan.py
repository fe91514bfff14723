"""The plan: what a workflow needs of a pipeline. Names and numbers, no prompt, no schema."""

from __future__ import annotations

import hashlib
import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from jsonvalues import canonical
from runs.domain.element_uses import element_needs
from runs.domain.lists import Steps
from runs.domain.pipelines import INPUT, ApprovalStep, FunctionStep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runs.domain.pipelines import PipelineSpec, StepSpec

PLAN_LIMIT = 6_144
"""The most bytes that an encoded plan may take."""

# Never change these: stored plans leave out what equals them, while stored pipelines have the old
# values. Another default is written into each new plan.
TIMEOUT_SECONDS = 600
MAX_ATTEMPTS = 3
BACKOFF_MS = 1_000
RECURSION_LIMIT = 100

WORKFLOW_VERSION = 7
"""The version of the workflow's code that new runs start with. Runs under way keep theirs."""
STARTED_BY_WORKERS = 6
"""The version with which workers start runs: one that workers of the release before know too, since
these may take them, while the API is deployed after all workers."""

FIRST_EPOCH = 1
"""The epoch of a run's first workflow. What a workflow of an earlier epoch does has no effect."""


@dataclass(frozen=True, slots=True)
class PlanStep:
    """A step as its workflow needs it."""

    step: str
    kind: Literal["llm", "function", "approval"] = "llm"
    needs: tuple[str, ...] = ()
    """Steps that must be done before, in the plan's order; `input` is not among them."""
    short: bool = False
    map_step: str | None = None
    """The step whose output holds the list, or `input`; None when the step is done once."""
    map_pointer: str = ""
    parallel: int = 0
    """How many of its elements are done at once; as many as usual when 0."""
    timeout_seconds: int = TIMEOUT_SECONDS
    max_attempts: int = MAX_ATTEMPTS
    backoff_ms: int = BACKOFF_MS
    visits: int = 1
    """How often the loop that ends with the step is gone through at most."""
    loop_from: str | None = None
    """The first step of that loop; None when the step ends none."""
    has_when: bool = False
    element_needs: tuple[str, ...] = ()
    """Those of `needs` that are mapped, and of which the step uses the same element's output."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps, each after all that it needs; steps that are free to begin go by name.

    Those of a graph say how its nodes are run, where that is not as usual.
    """

    steps: tuple[PlanStep, ...]
    graph: str = ""
    """The graph that says what is run when, by its name; empty where the steps' needs do."""
    recursion_limit: int = 0
    """The most supersteps of the graph."""

    @classmethod
    def of(cls, spec: PipelineSpec) -> Plan:
        """Make the plan of a spec whose rules have been checked.

        The order in which the spec lists its steps and their needs makes no difference.
        """
        steps = Steps(spec.steps)
        if spec.graph is not None:
            settings = tuple(_plan_step(steps[name], (), steps) for name in sorted(steps))
            return cls(settings, spec.graph.graph, spec.graph.recursion_limit)
        missing = {name: {*step.needs} & steps.keys() for name, step in steps.items()}
        needed_by: dict[str, list[str]] = {name: [] for name in steps}
        for name, needs in missing.items():
            for needed in needs:
                needed_by[needed].append(name)
        free = [name for name, needs in missing.items() if not needs]
        heapq.heapify(free)
        place: dict[str, int] = {}
        ordered: list[PlanStep] = []
        while free:
            name = heapq.heappop(free)
            place[name] = len(ordered)
            needs = sorted({*steps[name].needs} & steps.keys(), key=place.__getitem__)
            ordered.append(_plan_step(steps[name], tuple(needs), steps))
            for other in needed_by[name]:
                missing[other].discard(name)
                if not missing[other]:
                    heapq.heappush(free, other)
        return cls(tuple(ordered))

    @property
    def starts_with_short_steps(self) -> bool:
        """Whether all steps that need no other are short."""
        return all(step.short for step in self.steps if not step.needs)

    def compact(self) -> list[Any]:
        """Return the plan as JSON values: numbers for names, what is usual left out."""
        numbers = {step.step: number for number, step in enumerate(self.steps)}
        numbers[INPUT] = -1
        graph: list[Any] = []
        if self.graph:
            graph = [[self.graph, [], {"g": self.recursion_limit}]]
        return [*graph, *(_compact_step(step, numbers) for step in self.steps)]

    def encode(self) -> bytes:
        """Return the plan's bytes: equal plans, equal bytes."""
        return canonical(self.compact())

    def digest(self) -> str:
        """Return the sha256 of the plan's bytes, 64 lower-case hexadecimal digits."""
        return hashlib.sha256(self.encode()).hexdigest()

    @classmethod
    def parse(cls, compact: Sequence[Any]) -> Plan:
        """Return the plan that `compact` was made from."""
        if compact and len(compact[0]) > 2 and "g" in compact[0][2]:
            (name, _, graph), *settings = compact
            steps = cls.parse(settings).steps
            return cls(steps, name, graph["g"])
        names = [str(step[0]) for step in compact]
        return cls(tuple(_parsed_step(step, names) for step in compact))


@dataclass(frozen=True, slots=True)
class RunStart:
    """The workflow's argument. The workflow reads nothing else."""

    tenant_id: str
    run_id: str
    epoch: int
    plan: list[Any]
    """The plan as Plan.compact returns it."""
    version: int = 1
    """1: an activity of its own begins the run. 2: where short steps are the first, they do. 3: a
    long map is divided evenly among its children, and as many elements are done at once as of a
    short one. 4: an activity walks a chain of steps, and no branch waits for another. 5: what a
    local activity cannot end goes on in another one, also where it has failed. 6: local activities
    are waited for when they are cancelled, and what one hands over begins before it is."""
    retry_step: str = ""
    """The step whose retry comes first; empty when whatever failed is retried."""
    retry_item: int = 0
    """The element of it; 0 for all."""

    @property
    def workflow_id(self) -> str:
        return workflow_id(self.tenant_id, self.run_id)


TO_PAUSE = "pause"
"""The reason with which a workflow is cancelled whose run is to pause."""


def workflow_id(tenant_id: str, run_id: str) -> str:
    return f"{tenant_id}/{run_id}"


def tenant_of(workflow_id: str) -> str:
    """Return whose a run's workflow is; also one that another of the run's has started."""
    return workflow_id.partition("/")[0]


def _plan_step(step: StepSpec, needs: tuple[str, ...], steps: Steps) -> PlanStep:
    by_element = element_needs(step, steps)
    function = step.kind if isinstance(step.kind, FunctionStep) else None
    return PlanStep(
        step=step.step,
        kind=_kind(step),
        needs=needs,
        short=function is not None and function.short,
        map_step=None if step.map is None else step.map.step,
        parallel=0 if step.map is None else step.map.parallel,
        map_pointer="" if step.map is None else step.map.json_pointer,
        timeout_seconds=step.timeout_seconds,
        max_attempts=step.retry.max_attempts,
        backoff_ms=step.retry.backoff_ms,
        visits=1 if step.repeat is None else step.repeat.max_visits,
        loop_from=None if step.repeat is None else step.repeat.from_step,
        has_when=bool(step.when),
        element_needs=tuple(name for name in needs if name in by_element),
    )


def _kind(step: StepSpec) -> Literal["llm", "function", "approval"]:
    match step.kind:
        case FunctionStep():
            return "function"
        case ApprovalStep():
            return "approval"
        case _:
            return "llm"  # or a node of a graph, whose workflow knows no kinds


def _compact_step(step: PlanStep, numbers: dict[str, int]) -> list[Any]:
    non_defaults: dict[str, Any] = {}
    if step.kind == "function":
        non_defaults["f"] = 1
    if step.kind == "approval":
        non_defaults["p"] = 1
    if step.short:
        non_defaults["s"] = 1
    if step.map_step is not None:
        non_defaults["m"] = [numbers[step.map_step], step.map_pointer]
    if step.has_when:
        non_defaults["w"] = 1
    if step.element_needs:
        non_defaults["e"] = [numbers[name] for name in step.element_needs]
    if step.loop_from is not None:
        non_defaults["l"] = numbers[step.loop_from]
    numeric = (
        ("t", step.timeout_seconds, TIMEOUT_SECONDS),
        ("a", step.max_attempts, MAX_ATTEMPTS),
        ("b", step.backoff_ms, BACKOFF_MS),
        ("v", step.visits, 1),
        ("o", step.parallel, 0),
    )
    non_defaults |= {name: value for name, value, usual in numeric if value != usual}
    needs = [numbers[name] for name in step.needs]
    return [step.step, needs, non_defaults] if non_defaults else [step.step, needs]


def _parsed_step(compact: Sequence[Any], names: list[str]) -> PlanStep:
    numbers: list[int] = compact[1]
    non_defaults: dict[str, Any] = compact[2] if len(compact) > 2 else {}
    map_number, map_pointer = non_defaults.get("m", (None, ""))
    element_needs: list[int] = non_defaults.get("e", [])
    loop_from: int | None = non_defaults.get("l")
    return PlanStep(
        step=compact[0],
        kind="function" if "f" in non_defaults else "approval" if "p" in non_defaults else "llm",
        needs=tuple(names[number] for number in numbers),
        short="s" in non_defaults,
        map_step=None if map_number is None else _name(map_number, names),
        map_pointer=map_pointer,
        timeout_seconds=non_defaults.get("t", TIMEOUT_SECONDS),
        max_attempts=non_defaults.get("a", MAX_ATTEMPTS),
        backoff_ms=non_defaults.get("b", BACKOFF_MS),
        visits=non_defaults.get("v", 1),
        parallel=non_defaults.get("o", 0),
        loop_from=None if loop_from is None else names[loop_from],
        has_when="w" in non_defaults,
        element_needs=tuple(names[number] for number in element_needs),
    )


def _name(number: int, names: list[str]) -> str:
    return INPUT if number < 0 else names[number]
