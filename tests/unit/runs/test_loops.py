"""Loops: which steps their bodies have, how plans hold them, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.runs.specs import draft, faults, function, llm

from runs.domain.chains import Chain, RepeatedChains, chains
from runs.domain.loops import loop_bodies
from runs.domain.plan import Plan
from runs.wire import pipelines as wire

PREVIOUS = {"variable": "x", "output": {"step": "b", "previous_visit": True}}


def repeat(first: str, when: str = "b.score < 8", most: int = 3, **more: str) -> dict[str, Any]:
    return {"from_step": first, "when": when, "max_visits": most, **more}


def shape(node: Chain | RepeatedChains) -> object:
    if isinstance(node, Chain):
        return " ".join(step.step for step in node.steps)
    return [shape(chain) for chain in node.chains]


@pytest.mark.parametrize(
    ("needs", "first", "last", "expected"),
    [
        ("a b:a c:b", "a", "b", "ab"),
        ("a b:a c:b", "b", "b", "b"),
        ("a b:a x:a c:b,x d:c", "a", "c", "abxc"),
        ("a b:a x c:b,x d:c", "a", "c", "abc"),
        ("a b:a y:b c:b", "a", "c", "abc"),
        ("a b", "a", "b", ""),
        ("a b:a", "b", "a", ""),
    ],
)
def test_the_body_is_what_lies_on_paths_between(
    needs: str, first: str, last: str, expected: str
) -> None:
    parts = [each.partition(":") for each in needs.split()]
    graph = {name: [n for n in of.split(",") if n] for name, _, of in parts}
    (body,) = loop_bodies(graph, {last: first})
    assert body.steps == {*expected}


def test_chains_of_a_loop_are_together_and_everything_comes_after_what_it_needs() -> None:
    pipeline = draft(
        function("z"),
        function("a", "z"),
        function("m", "a", map={"step": "a"}),
        function("b", "m", repeat=repeat("a")),
        function("c", "m"),
        function("d", "a", "other"),
        function("other"),
    )
    divided = chains(pipeline.plan)

    assert [shape(node) for node in divided] == ["other", "z", ["a", "m", "b"], "d", "c"]
    loop = divided[2]
    assert isinstance(loop, RepeatedChains)
    assert (loop.name, loop.needs) == ("b", ("z",))
    assert [chain.needs for chain in loop.chains] == [(), ("a",), ("m",)]
    assert [{*node.needs} for node in divided[3:]] == [{"b", "other"}, {"b"}]
    assert Plan.parse(pipeline.plan.compact()) == pipeline.plan


def test_a_step_that_asks_is_a_chain_alone() -> None:
    ask = {"step": "ask", "needs": ["a"], "approval": {"question": "?"}}
    divided = chains(draft(function("a"), ask, function("b", "ask")).plan)

    assert [shape(node) for node in divided] == ["a", "ask", "b"]
    assert [isinstance(node, Chain) and node.asks for node in divided] == [False, True, False]


def test_a_spec_with_loops_and_approvals_comes_back_from_its_document() -> None:
    ask = {
        "step": "ask",
        "needs": ["a"],
        "approval": {
            "question": "May it go out?",
            "subjects": [{"step": "a", "json_pointer": "/text"}],
            "user_ids": ["ada"],
            "permissions": ["letters.approve"],
            "excludes_creator": True,
            "comment_required": True,
            "timeout": "3600s",
            "on_timeout": "APPROVAL_TIMEOUT_POLICY_APPROVE",
            "on_reject": "REJECTION_POLICY_CONTINUE",
        },
        "repeat": repeat("a", "!ask.approved", on_limit="VISIT_LIMIT_POLICY_CONTINUE"),
    }
    previous = {"step": "ask", "previous_visit": True, "first_visit_step": "input"}
    first = llm("a", "input", bindings=[{"variable": "x", "output": previous}])
    second = function("b", "a") | {"function": {"function": "f", "previous_visits": ["ask"]}}
    ask["needs"] = ["a", "b"]
    made = draft(first, second, ask)

    assert wire.from_document(made.document) == made.spec
    assert {"a", "b", "ask"} == set(made.spec.loops)


@pytest.mark.parametrize(
    ("steps", "field", "fault"),
    [
        ([function("b", repeat=repeat("x"))], "[0].repeat.from_step", "there is no step x"),
        (
            [function("a"), function("b", repeat=repeat("a"))],
            "[1].repeat.from_step",
            "a does not come before b",
        ),
        ([function("b", repeat=repeat("b", most=0))], "[0].repeat.max_visits", "2 to 100"),
        ([function("b", repeat=repeat("b", most=101))], "[0].repeat.max_visits", "2 to 100"),
        ([function("b", repeat=repeat("b", ""))], "[0].repeat.when", "it is missing"),
        ([function("b", repeat=repeat("b", "b.score <"))], "[0].repeat.when", "it is no CEL"),
        ([function("b", repeat=repeat("b", "x.n > 1"))], "[0].repeat.when", "x is no step"),
        (
            [
                function("a"),
                function("b", "a", repeat=repeat("a")),
                function("c", "b", repeat=repeat("b", "b.n > 1")),
            ],
            "[2].repeat",
            "b is in the loop that ends with b already",
        ),
        (
            [
                function("a", "d"),
                function("b", "a", repeat=repeat("a")),
                function("d"),
                function("e", "d", "a", repeat=repeat("d", "d.n > 1")),
            ],
            "",
            "wait for each other",
        ),
        (
            [llm("b", bindings=[PREVIOUS])],
            "[0].llm.bindings[0].output.step",
            "b is in no loop with b",
        ),
        (
            [function("b") | {"function": {"function": "f", "previous_visits": ["b"]}}],
            "[0].function.previous_visits[0]",
            "b is in no loop with b",
        ),
    ],
)
def test_a_loop_that_cannot_be_is_refused_with_its_field(
    steps: list[dict[str, Any]], field: str, fault: str
) -> None:
    found = faults(*steps)
    assert any(f"spec.steps{field}" in each and fault in what for each, what in found), found


@pytest.mark.parametrize(
    ("ask", "field", "fault"),
    [
        ({"map": {"step": "input"}}, "map", "a person is asked once"),
        ({"metrics": {"x": "/x"}}, "metrics", "leave these out"),
        (
            {"approval": {"question": "?", "on_timeout": "APPROVAL_TIMEOUT_POLICY_APPROVE"}},
            "approval.on_timeout",
            "there is no `timeout`",
        ),
        (
            {"approval": {"question": "?", "permissions": ["Bosses"]}},
            "approval.permissions[0]",
            "Bosses is no permission",
        ),
        (
            {"approval": {"question": "?", "subjects": [{"step": "x"}]}},
            "approval.subjects[0].step",
            "x is not needed",
        ),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused_with_its_field(
    ask: dict[str, Any], field: str, fault: str
) -> None:
    found = faults({"step": "ask", "approval": {"question": "?"}, **ask})
    assert [each for each, what in found if fault in what] == [f"spec.steps[0].{field}"], found
