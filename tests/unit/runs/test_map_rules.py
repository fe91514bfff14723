"""The rules of mapped steps, of values and of what joins branches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.runs.specs import draft, faults, function, llm

from runs.domain.lists import Relation, Sizes, Steps

if TYPE_CHECKING:
    from collections.abc import Mapping

OVER: Mapping[str, Any] = {"map": {"step": "input", "json_pointer": "/chapters"}}
INNER: Mapping[str, Any] = {"map": {"step": "outline", "json_pointer": "/sections"}}


def bound(kind: str, step: str) -> dict[str, Any]:
    return {"variable": "x", kind: {"step": step}}


def first(kind: str, *steps: str) -> dict[str, Any]:
    return {"variable": "x", kind: {"outputs": [{"step": step} for step in steps]}}


BOOK = [
    function("outline", "input", **OVER),
    function("title", "outline", map={"step": "outline"}),
    function("draft", "outline", **INNER),
    function("check", "draft", map={"step": "draft"}),
    function("other", "input", map={"step": "input", "json_pointer": "/others"}),
]


@pytest.mark.parametrize(
    ("step", "other", "related"),
    [
        ("outline", "title", Relation.SAME),
        ("draft", "check", Relation.SAME),
        ("check", "outline", Relation.OUTER),
        ("draft", "title", Relation.OUTER),
        ("title", "check", Relation.INNER),
        ("outline", "draft", Relation.INNER),
        ("draft", "other", None),
        ("draft", "input", None),
    ],
)
def test_lists_are_related_by_the_steps_that_hold_them(
    step: str, other: str, related: Relation | None
) -> None:
    steps = Steps(draft(*BOOK).spec.steps)

    assert steps.relation(step, other) is related


def test_the_elements_of_inner_lists_are_numbered_one_list_after_another() -> None:
    sizes = Sizes.of([2, 0, 3])

    assert sizes.count == 5
    assert [sizes.outer(item) for item in range(1, 6)] == [(1, 0), (1, 1), (3, 0), (3, 1), (3, 2)]
    assert [[*sizes.inner(outer)] for outer in range(1, 5)] == [[1, 2], [], [3, 4, 5], []]


@pytest.mark.parametrize(
    ("over", "source"), [(INNER, "outline"), (INNER, "title"), (OVER, "draft"), (OVER, "check")]
)
def test_what_belongs_to_an_element_is_bound_across_lists_within_lists(
    over: Mapping[str, Any], source: str
) -> None:
    needs = (source, "outline")
    draft(*BOOK, llm("use", *needs, bindings=[bound("element_output", source)], **over))
    given = {"function": "copy", "element_outputs": [source]}
    draft(*BOOK, {"step": "use", "needs": [*needs], "function": given, **over})


def test_nothing_of_an_unrelated_list_belongs_to_an_element() -> None:
    use = llm("use", "outline", "other", bindings=[bound("element_output", "other")], **INNER)

    assert faults(*BOOK, use) == [
        (
            "spec.steps[5].llm.bindings[0].element_output.step",
            "other is not mapped over the same list; bind `output` instead",
        )
    ]


def test_branches_join_in_outputs_of_steps_that_are_needed() -> None:
    steps = function("a"), function("b")
    draft(*steps, llm("join", "a", "b", bindings=[first("first_output", "a", "b")]))

    assert faults(*steps, llm("join", "a", bindings=[first("first_output", "a", "b")])) == [
        (
            "spec.steps[2].llm.bindings[0].first_output.outputs[1].step",
            "b is not needed; add it to the step's `needs`",
        )
    ]
    assert faults(*steps, llm("join", "a", bindings=[first("first_element_output", "a")])) == [
        (
            "spec.steps[2].llm.bindings[0].first_element_output.outputs[0]",
            "the step has no `map`; bind `output` instead",
        )
    ]


def test_a_manifest_is_that_of_a_mapped_step_that_is_needed() -> None:
    draft(*BOOK, llm("report", "draft", bindings=[bound("manifest", "draft")]))
    given = {"function": "copy", "manifests": ["draft", "title", "plain"]}
    report = {"step": "report", "needs": ["draft", "plain"], "function": given}

    assert faults(*BOOK, function("plain"), report) == [
        (
            "spec.steps[6].function.manifests[1]",
            "title is not needed; add it to the step's `needs`",
        ),
        ("spec.steps[6].function.manifests[2]", "plain is not mapped, so it has no manifest"),
    ]
    both = {"function": "copy", "manifests": ["outline"], "element_outputs": ["outline"]}
    twice = {"step": "use", "needs": ["outline"], "function": both, **OVER}
    assert faults(*BOOK, twice) == [
        (
            "spec.steps[5].function.manifests[0]",
            "outline is among the element_outputs, too; leave it out of one of them",
        )
    ]


def test_the_condition_of_elements_follows_the_rules_of_conditions() -> None:
    over = {"step": "input", "when": "outline.score <"}
    ((field, description),) = faults(*BOOK, function("use", "outline", map=over))

    assert field == "spec.steps[5].map.when"
    assert description.startswith("it is no CEL: column 16: ")


def test_a_value_is_named_like_no_metric() -> None:
    step = function("a", metrics={"n": "/n"}, values={"n": "/m", "bytes": "/b"})

    assert faults(step) == [
        (
            'spec.steps[0].values["bytes"]',
            "bytes is counted without being asked; use another name",
        ),
        ('spec.steps[0].values["n"]', "n is a metric already; use another name"),
    ]


def test_a_text_is_a_value_as_a_whole() -> None:
    draft(llm("kind", values={"kind": ""}))

    assert faults(llm("kind", values={"kind": "/kind"})) == [
        (
            'spec.steps[0].values["kind"]',
            "the output is text: leave the pointer empty, or give an `output_schema`",
        )
    ]


@pytest.mark.parametrize(
    ("when", "fault"),
    [
        ("skiped(a)", "there is no function skiped; skipped() asks whether a step was skipped"),
        (
            "skipped(a.score)",
            "skipped() asks about a step: write its name alone, as in skipped(review)",
        ),
        (
            "skipped()",
            "skipped() asks about a step: write its name alone, as in skipped(review)",
        ),
        ("skipped(b)", "b is no step that this one needs; write a step's `-` as `_`"),
    ],
)
def test_a_condition_asks_whether_a_step_was_skipped_by_its_name(when: str, fault: str) -> None:
    draft(function("a"), function("c", "a", when="skipped( a ) || a.score > 3"))

    assert faults(function("a"), function("c", "a", when=when)) == [("spec.steps[1].when", fault)]


def test_a_condition_with_a_fault_on_another_line_says_which() -> None:
    ((_, description),) = faults(function("a"), function("b", "a", when="a.x > 1 &&\n)"))

    assert description.startswith("it is no CEL: line 2, column 1: ")
