from __future__ import annotations

from typing import Any

import pytest
from tests.unit.runs.specs import draft, faults, function, llm

from runs.errors import PipelineInvalid, PlanTooLarge


def test_a_condition_names_no_two_steps_at_once() -> None:
    both = [function("review-a"), function("review_a")]
    assert faults(*both, function("c", "review-a", "review_a", when="review_a.score < 8")) == [
        (
            "spec.steps[2].when",
            "review_a may be review-a or review_a, since `-` is written as `_`; rename one",
        )
    ]
    draft(*both, function("c", "review-a", when="review_a.score < 8"))


def test_a_cycle_is_named_with_its_path() -> None:
    found = faults(function("a", "c"), function("b", "a"), function("c", "b"))

    assert found == [("spec.steps[1].needs[0]", "a cycle: a needs c needs b needs a")]


def test_a_step_that_needs_itself_is_a_cycle() -> None:
    assert faults(function("a", "a")) == [("spec.steps[0].needs[0]", "a cycle: a needs a")]


def test_two_cycles_are_both_named() -> None:
    found = faults(function("a", "b"), function("b", "a"), function("x", "y"), function("y", "x"))

    assert [description for _, description in found] == [
        "a cycle: a needs b needs a",
        "a cycle: x needs y needs x",
    ]


def test_a_need_that_is_no_step_is_refused_with_the_name_that_was_meant() -> None:
    found = faults(function("outline"), function("draft", "outlin"))

    fault = "there is no step outlin; did you mean outline?"
    assert found == [("spec.steps[1].needs[0]", fault)]


def test_a_need_that_resembles_nothing_is_refused_without_a_guess() -> None:
    assert faults(function("a", "input", "zzz")) == [
        ("spec.steps[0].needs[1]", "there is no step zzz")
    ]


def test_a_name_is_used_once() -> None:
    found = faults(function("a"), function("b"), function("a"))

    assert found == [("spec.steps[2].step", "a is the name of spec.steps[0] already")]


def test_no_step_is_called_input() -> None:
    found = faults(function("input"))

    assert found == [
        ("spec.steps[0].step", "`input` is the name of what a run is given; use another")
    ]


def test_an_output_is_bound_only_of_a_step_that_is_needed() -> None:
    topic = {"variable": "topic", "output": {"step": "outline"}}

    assert faults(function("outline"), llm("draft", bindings=[topic])) == [
        (
            "spec.steps[1].llm.bindings[0].output.step",
            "outline is not needed; add it to the step's `needs`",
        )
    ]


def test_the_input_is_bound_without_being_needed() -> None:
    draft(llm("outline", bindings=[{"variable": "topic", "output": {"step": "input"}}]))


def test_a_variable_is_bound_once() -> None:
    topic = {"variable": "topic", "text": "cranes"}

    assert faults(llm("outline", bindings=[topic, topic])) == [
        ("spec.steps[0].llm.bindings[1].variable", "topic is bound twice")
    ]


def test_the_step_whose_list_is_mapped_is_needed() -> None:
    found = faults(function("outline"), function("draft", map={"step": "outline"}))

    assert found == [
        ("spec.steps[1].map.step", "outline is not needed; add it to the step's `needs`")
    ]


def test_an_element_is_bound_only_in_a_mapped_step() -> None:
    section = {"variable": "section", "element": {}}

    assert faults(llm("draft", bindings=[section])) == [
        ("spec.steps[0].llm.bindings[0].element", "the step has no `map`, so it has no element")
    ]


def test_an_element_output_is_bound_only_in_a_mapped_step() -> None:
    found = {"variable": "found", "element_output": {"step": "research"}}
    steps = function("research", map={"step": "input"}), llm("draft", "research", bindings=[found])

    assert faults(*steps) == [
        (
            "spec.steps[1].llm.bindings[0].element_output",
            "the step has no `map`; bind `output` instead",
        )
    ]


@pytest.mark.parametrize("other", [None, {"step": "input", "json_pointer": "/other"}])
def test_an_element_output_comes_from_a_step_mapped_over_the_same_list(
    other: dict[str, str] | None,
) -> None:
    research = function("research", **({"map": other} if other else {}))
    found = {"variable": "found", "element_output": {"step": "research"}}
    sections = {"step": "input", "json_pointer": "/sections"}

    assert faults(research, llm("draft", "research", bindings=[found], map=sections)) == [
        (
            "spec.steps[1].llm.bindings[0].element_output.step",
            "research is not mapped over the same list; bind `output` instead",
        )
    ]


def test_steps_mapped_over_the_same_list_may_use_each_others_elements() -> None:
    sections = {"step": "input", "json_pointer": "/sections"}
    found = {"variable": "found", "element_output": {"step": "research"}}

    draft(
        function("research", map=sections),
        llm("draft", "research", bindings=[found], map=sections),
    )


def test_a_condition_is_cel() -> None:
    ((field, description),) = faults(function("a"), function("b", "a", when="a.score <"))

    assert field == "spec.steps[1].when"
    assert description.startswith("it is no CEL: column 10: ")


def test_a_condition_that_is_nested_too_deeply_to_be_read_is_reported_as_such() -> None:
    when = "(" * 240 + "true" + ")" * 240
    ((field, description),) = faults(function("a"), function("b", "a", when=when))

    assert field == "spec.steps[1].when"
    assert description.endswith("it cannot be read from here on; is it nested too deeply?")


def test_a_condition_asks_only_for_steps_that_are_needed() -> None:
    assert faults(function("a"), function("b", when="a.score < 8")) == [
        (
            "spec.steps[1].when",
            "a is no step that this one needs; write a step's `-` as `_`",
        )
    ]


def test_a_condition_writes_a_hyphen_as_an_underscore() -> None:
    draft(function("fact-check"), function("b", "fact-check", when="fact_check.score < 8"))


@pytest.mark.parametrize("macro", ["all", "exists", "exists_one", "existsOne", "map", "filter"])
@pytest.mark.parametrize("call", [".{}(", ". {} (", ".// a comment\n{}(", ".{} // one,\n//\n("])
def test_a_condition_goes_through_no_list(macro: str, call: str) -> None:
    condition = f"[1, 2]{call.format(macro)}a, a > 0)"

    assert faults(function("a"), function("b", "a", when=condition)) == [
        (
            "spec.steps[1].when",
            f"it goes through a list with {macro}; compare metrics instead",
        )
    ]


def test_an_output_schema_is_a_json_schema() -> None:
    schema = {"type": "object", "properties": {"title": {"type": "strin"}}}

    assert faults(llm("outline", llm={"output_schema": schema})) == [
        (
            "spec.steps[0].llm.output_schema",
            "it is no JSON schema: /properties/title/type breaks the rule of schemas",
        )
    ]


def test_a_metric_needs_an_output_with_numbers() -> None:
    assert faults(llm("review", metrics={"score": "/score"})) == [
        (
            'spec.steps[0].metrics["score"]',
            "the output is text; give the step an `output_schema`",
        )
    ]


def test_a_metric_is_not_called_like_one_that_is_counted_anyway() -> None:
    assert faults(function("a", metrics={"characters": "/n"})) == [
        (
            'spec.steps[0].metrics["characters"]',
            "characters is counted without being asked; use another name",
        )
    ]


@pytest.mark.parametrize(
    ("step", "field"),
    [
        (function("a", metrics={"n": "/a~b"}), 'spec.steps[0].metrics["n"]'),
        (
            function("a", map={"step": "input", "json_pointer": "/a~"}),
            "spec.steps[0].map.json_pointer",
        ),
        (
            llm(
                "a",
                bindings=[{"variable": "v", "output": {"step": "input", "json_pointer": "/~2"}}],
            ),
            "spec.steps[0].llm.bindings[0].output.json_pointer",
        ),
    ],
)
def test_a_pointer_is_written_as_rfc_6901_says(step: dict[str, Any], field: str) -> None:
    assert faults(step) == [(field, "it is no JSON pointer: write `~` as `~0`")]


def test_all_faults_are_found_together_in_the_order_of_the_steps() -> None:
    topic = {"variable": "topic", "output": {"step": "b"}}
    found = faults(
        function("a", "c"),
        llm("b", "nothing", bindings=[topic], when="1 +"),
        function("c", "a"),
        function("b"),
    )

    assert [field for field, _ in found] == [
        "spec.steps[1].llm.bindings[0].output.step",
        "spec.steps[1].needs[0]",
        "spec.steps[1].when",
        "spec.steps[2].needs[0]",
        "spec.steps[3].step",
    ]


def test_the_message_tells_the_first_fault_and_how_many_more_there_are() -> None:
    with pytest.raises(PipelineInvalid) as refusal:
        draft(function("a", "x"), function("b", "y"))

    assert str(refusal.value) == "spec.steps[0].needs[0]: there is no step x (and 1 more)"


def test_a_plan_of_more_than_6_kib_is_refused_with_its_size() -> None:
    long = "x" * 60
    with pytest.raises(PlanTooLarge) as refusal:
        draft(*(function(f"s{number:02}{long[:60]}"[:63]) for number in range(100)))

    size = int(refusal.value.metadata["size_bytes"])
    assert size > 6_144
    assert refusal.value.metadata["limit_bytes"] == "6144"


def test_200_steps_in_a_chain_fit_into_a_plan() -> None:
    steps = [function("step-000", "input")]
    steps += [function(f"step-{n:03}", f"step-{n - 1:03}") for n in range(1, 200)]

    assert draft(*steps).plan_size_bytes < 6_144
