"""Which steps of a plan one activity walks."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from tests.unit.runs.specs import draft, function, llm
from tests.unit.runs.test_plan import plans

from runs.domain.chains import NAMES_LIMIT, Chain
from runs.domain.chains import chains as chains_and_loops
from runs.domain.plan import Plan, PlanStep

if TYPE_CHECKING:
    from collections.abc import Sequence


def chains(of: Plan) -> list[Chain]:
    """Return the chains of a plan without loops."""
    divided = chains_and_loops(of)
    found = [chain for chain in divided if isinstance(chain, Chain)]
    assert len(found) == len(divided)
    return found


def names(divided: Sequence[Chain]) -> list[str]:
    return [" ".join(step.step for step in chain.steps) for chain in divided]


def plan(*needs: str) -> Plan:
    """Return a plan of steps such as `c:a,b`."""
    parts = [each.partition(":") for each in needs]
    return Plan(
        tuple(PlanStep(name, needs=tuple(n for n in of.split(",") if n)) for name, _, of in parts)
    )


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ("a b:a c:b", ["a b c"]),
        ("a b:a c:a,b", ["a b c"]),
        ("a b c:b d:a,c", ["a", "b c", "d"]),
        ("a b:a c:a d:b,c", ["a", "b", "c", "d"]),
        ("a b:a c:a d:c e:b,d", ["a", "b", "c d", "e"]),
        ("a b:a c:b d:c,a e:d,b", ["a b c d e"]),
        ("a b:a x:a c:b", ["a", "b c", "x"]),
    ],
)
def test_steps_are_one_chain_where_no_step_waits_longer_for_that(
    steps: str, expected: list[str]
) -> None:
    assert sorted(names(chains(plan(*steps.split())))) == sorted(expected)


@given(plans())
def test_every_step_is_in_one_chain_which_comes_after_what_it_needs(given_plan: Plan) -> None:
    chain_of: dict[str, str] = {}
    done: list[str] = []
    for chain in chains(given_plan):
        assert {*chain.needs} <= {*chain_of.values()}
        before = {step for step in done if chain_of[step] in _all_needs(chain, chains(given_plan))}
        for step in chain.steps:
            assert {*step.needs} <= before
            before.add(step.step)
            done.append(step.step)
            chain_of[step.step] = chain.name
    assert sorted(done) == sorted(step.step for step in given_plan.steps)


def _all_needs(chain: Chain, divided: Sequence[Chain]) -> set[str]:
    by_name = {each.name: each for each in divided}
    found: set[str] = set()
    left = [*chain.needs]
    while left:
        name = left.pop()
        found.add(name)
        left += by_name[name].needs
    return found


def test_the_names_of_a_chain_are_bounded_since_they_stand_in_the_history() -> None:
    long = [f"{number:03}" + "x" * 60 for number in range(100)]
    steps = [
        PlanStep(long[0]),
        *(PlanStep(b, needs=(a,)) for a, b in pairwise(long)),
    ]
    divided = chains(Plan(tuple(steps)))

    assert len(divided) == 4
    assert all(sum(len(step.step) for step in chain.steps) <= NAMES_LIMIT for chain in divided)


OVER: dict[str, Any] = {"map": {"step": "input"}}
SAME = [{"variable": "x", "element_output": {"step": "one"}}]
ALL = [{"variable": "x", "output": {"step": "one"}}]


def divided(*steps: dict[str, object]) -> list[str]:
    return names(chains(draft(*steps).plan))


def test_mapped_steps_that_use_the_same_element_only_are_one_chain() -> None:
    one, two = llm("one", **OVER), llm("two", "one", bindings=SAME, **OVER)

    assert divided(one, two) == ["one two"]
    assert divided(one, two, function("all", "one", "two")) == ["one two", "all"]
    assert divided(one, llm("two", "one", bindings=ALL, **OVER)) == ["one", "two"]
    assert divided(one, {**two, "when": "true"}) == ["one", "two"]


def test_a_step_that_is_mapped_over_another_ones_outputs_follows_it_for_each_element() -> None:
    element = [{"variable": "x", "element": {}}]
    one = llm("one", **OVER)
    two = llm("two", "one", bindings=element, map={"step": "one"})

    assert divided(one, two) == ["one two"]


def test_functions_may_use_all_elements_so_they_wait_for_all() -> None:
    assert divided(llm("one", **OVER), function("two", "one", **OVER)) == ["one", "two"]


def test_functions_that_use_the_same_element_only_follow_for_each_element() -> None:
    one, two = llm("one", **OVER), llm("two", "one", bindings=SAME, **OVER)
    by_element = {"function": "copy", "element_outputs": ["two"]}
    three = function("three", "two", **OVER)
    three["function"] = by_element

    assert divided(one, two, three) == ["one two three"]
    assert divided(one, two, {**three, "map": {"step": "two"}}) == ["one two three"]
    assert divided(one, two, {**three, "needs": ["one", "two"]}) == ["one two", "three"]
    assert divided(one, two, {**three, "when": "true"}) == ["one two", "three"]


def test_a_mapped_step_is_in_no_chain_with_one_that_is_not() -> None:
    assert divided(function("a"), function("b", "a", map={"step": "a"}), function("c", "b")) == [
        "a",
        "b",
        "c",
    ]
