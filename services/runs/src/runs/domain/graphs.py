"""Pipelines that are graphs: what their steps are, and the rules of their specs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jsonvalues import canonical
from runs.domain.graph_specs import NodeStep
from runs.domain.pipelines import INPUT, ApprovalStep, LlmStep, Retry, StepSpec
from runs.domain.plan import BACKOFF_MS, MAX_ATTEMPTS, TIMEOUT_SECONDS
from servicekit.errors import Violation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runs.domain.graph_specs import GraphSpec
    from runs.domain.pipelines import PipelineSpec

STATE_BYTES = 4_096
"""The most bytes of the state that a graph begins with, as of any later one."""


def node_spec(spec: PipelineSpec, node: str) -> StepSpec:
    """Return the step that a pipeline lists for a node, or the usual one."""
    for step in spec.steps:
        if step.step == node:
            return step
    return StepSpec(
        step=node,
        needs=(),
        kind=NodeStep(),
        map=None,
        when="",
        timeout_seconds=TIMEOUT_SECONDS,
        retry=Retry(MAX_ATTEMPTS, BACKOFF_MS),
        metrics={},
    )


def graph_violations(spec: PipelineSpec, graph: GraphSpec) -> Iterator[Violation]:
    """Yield the faults of a pipeline that is a graph, in the order of its steps."""
    size = len(canonical(graph.arguments))
    if size > STATE_BYTES:
        fault = f"they take {size:,} bytes, at most {STATE_BYTES:,} are possible: use the input"
        yield Violation("spec.graph.arguments", fault)
    seen: set[str] = set()
    for number, step in enumerate(spec.steps):
        at = f"spec.steps[{number}]"
        if step.step in seen:
            yield Violation(f"{at}.step", f"{step.step} is listed twice")
        seen.add(step.step)
        yield from _step_violations(at, step)


def _step_violations(at: str, step: StepSpec) -> Iterator[Violation]:
    if step.step == INPUT:
        yield Violation(f"{at}.step", "`input` is the name of what a run is given; use another")
    if not isinstance(step.kind, (ApprovalStep, LlmStep, NodeStep)):
        fault = (
            "the steps of a graph are its nodes, with `llm` if they ask a model, else `node`; and "
            "the approvals that nodes ask for by `interrupt`"
        )
        yield Violation(at, fault)
    if isinstance(step.kind, LlmStep) and step.kind.bindings:
        fault = "a node gives the variables itself, when it calls `ask_model`"
        yield Violation(f"{at}.llm.bindings", fault)
    for field, given in (("needs", step.needs), ("map", step.map), ("when", step.when)):
        if given:
            yield Violation(f"{at}.{field}", "the graph says when its nodes run: leave this out")
