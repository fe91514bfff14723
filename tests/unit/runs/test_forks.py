"""Which steps and elements of a run a fork takes over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.runs.specs import draft, function, llm

from runs.domain.forks import (
    WHOLE,
    Fork,
    Inputs,
    Reuse,
    fork_from_json,
    fork_json,
    reused_steps,
    steps_done_again,
)

if TYPE_CHECKING:
    from jsonvalues import JsonValue
    from runs.domain.pipelines import PipelineSpec

OVER = {"map": {"step": "input", "json_pointer": "/invoices"}}


def bind(variable: str, **value: object) -> dict[str, object]:
    return {"variable": variable, **value}


EXTRACT = llm("extract", bindings=[bind("invoice", element={})], **OVER)
CHECK = llm("check", "extract", bindings=[bind("a", element_output={"step": "extract"})], **OVER)
NEXT = llm(
    "next", "check", bindings=[bind("a", element={})], map={"step": "check", "json_pointer": ""}
)
ALL = llm("all", "check", bindings=[bind("a", output={"step": "check"})])
LAST = llm("last", "all", bindings=[bind("a", output={"step": "all"})])
ASIDE = llm("aside", bindings=[bind("language", output={"step": "input", "json_pointer": "/to"})])


def spec(*steps: dict[str, Any]) -> PipelineSpec:
    return draft(*steps).spec


INVOICES = spec(EXTRACT, CHECK, NEXT, ALL, LAST, ASIDE)


def test_what_uses_the_output_of_a_step_is_done_again_with_it() -> None:
    assert steps_done_again(INVOICES, {"all": ()}) == {"all": WHOLE, "last": WHOLE}
    assert steps_done_again(INVOICES, {}) == {}


def test_what_uses_one_element_is_done_again_for_that_element() -> None:
    assert steps_done_again(INVOICES, {"extract": (2,), "check": (3,)}) == {
        "extract": {2},
        "check": {2, 3},
        "next": {2, 3},
        "all": WHOLE,
        "last": WHOLE,
    }


def test_all_steps_are_reused_where_nothing_is_done_again() -> None:
    steps = reused_steps(INVOICES, {}, None)

    assert steps == dict.fromkeys((step.step for step in INVOICES.steps), Reuse())


def test_elements_that_are_done_again_are_left_out() -> None:
    again = steps_done_again(INVOICES, {"extract": (2,)})
    steps = reused_steps(INVOICES, again, None)

    assert steps.keys() == {"extract", "check", "next", "aside"}
    assert steps["next"].places(1) == (1,)
    assert steps["next"].places(2) == ()


def test_an_element_of_another_input_is_taken_from_where_its_equal_was() -> None:
    inputs = Inputs(
        {"invoices": ["a", "b", "c", "b"], "to": "en"},
        {"invoices": ["b", "new", "c", "b", "b"], "to": "en", "more": 1},
    )
    steps = reused_steps(INVOICES, {}, inputs)

    assert steps.keys() == {"extract", "check", "next", "aside"}
    places = {item: steps["next"].places(item) for item in (1, 2, 3, 4)}
    assert places == {1: (), 2: (1, 5), 3: (3,), 4: (4,)}


@pytest.mark.parametrize("new", [{"invoices": "none"}, {}, []])
def test_a_list_that_is_none_any_more_leaves_nothing_to_reuse(new: JsonValue) -> None:
    assert reused_steps(INVOICES, {}, Inputs({"invoices": ["a"]}, new)) == {}


def test_inputs_that_cannot_be_read_count_as_changed() -> None:
    assert reused_steps(INVOICES, {}, Inputs(None, None, readable=False)) == {}


def test_a_step_that_reads_a_changed_value_is_done_again() -> None:
    both = llm(
        "both",
        bindings=[
            bind("invoice", element={}),
            bind("language", output={"step": "input", "json_pointer": "/to"}),
        ],
        **OVER,
    )
    old = {"invoices": ["a"], "to": "en"}

    assert reused_steps(spec(both), {}, Inputs(old, {**old, "to": "fr"})) == {}
    assert reused_steps(spec(both), {}, Inputs(old, {**old, "x": 1})).keys() == {"both"}


def test_a_function_of_somebodys_own_may_read_all_of_the_input() -> None:
    inputs = Inputs({"a": 1}, {"a": 1, "b": 2})
    collect = {"step": "collected", "function": {"function": "collect"}}
    named = {**collect, "step": "named", "needs": ["input"]}

    assert reused_steps(spec(function("own"), collect, named), {}, inputs).keys() == {"collected"}


def test_a_condition_on_the_input_is_decided_again() -> None:
    when = llm("when", bindings=[], when="input.characters > 5")

    assert reused_steps(spec(when), {}, Inputs({"a": 1}, {"a": 2})) == {}
    assert reused_steps(spec(when), {}, None).keys() == {"when"}


def test_a_loop_is_done_again_as_a_whole() -> None:
    write = llm("write", bindings=[bind("x", output={"step": "input", "json_pointer": "/a"})])
    check = function("check", "write", metrics={"score": "/score"})
    repeat = {"from_step": "write", "when": "check.score < 8.0", "max_visits": 3}
    after = llm("after", "check", bindings=[bind("x", output={"step": "check"})])
    loop = spec(write, {**check, "repeat": repeat}, after)

    assert steps_done_again(loop, {"check": ()}).keys() == {"write", "check", "after"}
    assert steps_done_again(loop, {"after": ()}).keys() == {"after"}
    assert reused_steps(loop, {"after": WHOLE}, None).keys() == {"write", "check"}
    # Its function may read all of the input, so the loop's first step is done again with it.
    assert reused_steps(loop, {}, Inputs({"a": 1}, {"a": 1, "b": 2})) == {}


def test_a_fork_is_read_as_it_was_written() -> None:
    again = {"all": WHOLE, "extract": frozenset({3})}
    fork = Fork("0192f0c1-2345-7000-8000-000000000001", again, frozenset({"all"}))

    assert fork_from_json(fork_json(fork)) == fork
