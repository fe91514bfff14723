"""Pipelines that are graphs: their plans, their rules, and what is installed for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.json_format import ParseDict
from tests.unit.runs.specs import function, llm

from nagaya.runs.v1 import pipeline_pb2
from runs.domain.drafts import PipelineDraft
from runs.domain.failures import StepImpossible
from runs.domain.graph_specs import NodeStep
from runs.domain.graphs import node_spec
from runs.domain.installed import CodeNeeds, Installed
from runs.domain.plan import Plan
from runs.errors import PipelineInvalid
from runs.wire import pipelines as wire
from runs.worker.graphs import GraphRegistry

if TYPE_CHECKING:
    from runs.domain.pipelines import PipelineSpec

GRAPH = {"graph": "acme.research", "arguments": {"rounds": 3}}
NODE = {"step": "tool", "node": {}, "timeout": "30s", "retry": {"max_attempts": 7}}


def spec(*steps: dict[str, Any], **more: object) -> PipelineSpec:
    whole = {"graph": GRAPH, "steps": list(steps), **more}
    return wire.pipeline_spec(ParseDict(whole, pipeline_pb2.PipelineSpec()))


def faults(of: PipelineSpec) -> list[str]:
    with pytest.raises(PipelineInvalid) as refused:
        PipelineDraft.parse("research", of, wire.document)
    return [violation.field for violation in refused.value.violations]


def test_a_graph_is_stored_and_read_as_it_was_given() -> None:
    given = spec(llm("plan"), NODE, task_queue="acme")
    draft = PipelineDraft.parse("research", given, wire.document)

    assert wire.from_document(draft.document) == given


def test_a_graphs_plan_has_its_name_and_what_is_unusual_about_its_nodes() -> None:
    plan = Plan.of(spec(llm("plan"), NODE))

    assert plan.compact() == [
        ["acme.research", [], {"g": 100}],
        ["plan", []],
        ["tool", [], {"t": 30, "a": 7}],
    ]
    assert Plan.parse(plan.compact()) == plan


def test_a_node_that_is_not_listed_has_the_usual_settings() -> None:
    listed, other = node_spec(spec(NODE), "tool"), node_spec(spec(NODE), "critic")

    assert (listed.timeout_seconds, listed.retry.max_attempts) == (30, 7)
    assert (other.kind, other.timeout_seconds, other.retry.max_attempts) == (NodeStep(), 600, 3)


def test_a_graphs_steps_say_only_what_its_nodes_do() -> None:
    bound = llm("plan", bindings=[{"variable": "a", "text": "b"}])
    given = spec(bound, function("tool", "plan"), llm("plan", when="true"))

    assert faults(given) == [
        "spec.steps[0].llm.bindings",
        "spec.steps[1]",
        "spec.steps[1].needs",
        "spec.steps[2].step",
        "spec.steps[2].when",
    ]


def test_what_a_graph_begins_with_is_no_body() -> None:
    large = {"graph": "acme.research", "arguments": {"text": "x" * 5_000}}

    assert faults(spec(graph=large)) == ["spec.graph.arguments"]


def test_only_a_graph_has_nodes() -> None:
    steps = {"steps": [NODE]}
    given = wire.pipeline_spec(ParseDict(steps, pipeline_pb2.PipelineSpec()))

    assert faults(given) == ["spec.steps[0].node"]


def test_a_prompt_of_a_node_may_have_any_variables() -> None:
    (need,) = spec(llm("plan")).prompts()

    assert need.variables is None


WORKER = Installed(
    frozenset(), frozenset({"collect", "acme.add"}), {"acme.research": frozenset("ab")}
)
BOLTS = Installed(frozenset({"bolt"}), frozenset({"bolt.cut"}), {})


@pytest.mark.parametrize(
    ("needs", "workers", "fields"),
    [
        (CodeNeeds(functions={"sum": "acme.add"}), [WORKER], []),
        (CodeNeeds(functions={"sum": "acme.ad"}), [WORKER], ['steps["sum"].function']),
        (CodeNeeds(functions={"sum": "acme.ad"}), [], []),
        (CodeNeeds(functions={"cut": "bolt.cut"}), [WORKER, BOLTS], ['steps["cut"].function']),
        (CodeNeeds(graph="acme.research", nodes=["a"]), [WORKER], []),
        (CodeNeeds(graph="acme.research", nodes=["a", "c"]), [WORKER], ['steps["c"]']),
        (CodeNeeds(graph="acme.reserach"), [WORKER], ["graph.graph"]),
        (CodeNeeds(graph="acme.research"), [], ["graph.graph"]),
        (CodeNeeds("bolts", {"cut": "bolt.cut"}), [BOLTS], ["task_queue"]),
        (CodeNeeds("bolts"), [], ["task_queue"]),
    ],
)
def test_what_no_worker_has_for_the_tenant_is_missing(
    needs: CodeNeeds, workers: list[Installed], fields: list[str]
) -> None:
    found = list(needs.faults("acme", workers))

    assert [field for field, _ in found] == fields
    assert not any(
        "bolt.cut" in fault and "bolt.cut" not in needs.functions.values() for _, fault in found
    )


def test_a_graph_that_is_not_there_or_cannot_be_run_is_refused_without_other_names() -> None:
    graphs = GraphRegistry({}, {"acme.bad": "its schema Model is no TypedDict"})

    with pytest.raises(StepImpossible) as missing:
        graphs.find("acme.other")
    with pytest.raises(StepImpossible) as unusable:
        graphs.find("acme.bad")

    assert (missing.value.reason, unusable.value.reason) == ("GRAPH_NOT_FOUND", "GRAPH_UNUSABLE")
    assert "acme.bad" not in missing.value.message
