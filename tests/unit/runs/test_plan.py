from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import ParseDict
from hypothesis import given
from hypothesis import strategies as some

from nagaya.runs.v1 import pipeline_pb2
from runs.domain.plan import Plan, PlanStep
from runs.wire import pipelines as wire

if TYPE_CHECKING:
    import random


def plan(steps: list[dict[str, Any]]) -> Plan:
    return Plan.of(wire.pipeline_spec(ParseDict({"steps": steps}, pipeline_pb2.PipelineSpec())))


def function(step: str, *needs: str) -> dict[str, Any]:
    return {"step": step, "needs": list(needs), "function": {"function": "copy"}}


ARTICLE = [
    function("polish", "review", "draft"),
    function("draft", "research", "outline"),
    function("review", "draft"),
    function("research", "outline", "input"),
    function("outline", "input"),
    function("titles", "outline"),
]


def test_each_step_comes_after_what_it_needs_and_ties_go_by_name() -> None:
    names = [step.step for step in plan(ARTICLE).steps]

    assert names == ["outline", "research", "draft", "review", "polish", "titles"]


def test_needs_are_in_the_order_of_the_plan_and_without_the_input() -> None:
    needs = {step.step: step.needs for step in plan(ARTICLE).steps}

    assert needs["polish"] == ("draft", "review")
    assert needs["outline"] == ()


@given(some.randoms())
def test_the_order_in_which_a_pipeline_is_written_makes_no_difference(
    chance: random.Random,
) -> None:
    shuffled = [
        {**step, "needs": chance.sample(step["needs"], len(step["needs"]))} for step in ARTICLE
    ]
    chance.shuffle(shuffled)

    assert plan(shuffled).encode() == plan(ARTICLE).encode()


names = some.text("abcdefghij-_", min_size=1, max_size=8)


@some.composite
def plans(draw: some.DrawFn) -> Plan:
    steps: list[PlanStep] = []
    for name in draw(some.lists(names, min_size=1, max_size=12, unique=True)):
        before = [step.step for step in steps]
        needs = draw(some.sets(some.sampled_from(before))) if before else set[str]()
        map_step = draw(some.sampled_from([None, "input", *before]))
        step = PlanStep(
            step=name,
            kind=draw(some.sampled_from(("llm", "function"))),
            needs=tuple(known for known in before if known in needs),
            short=draw(some.booleans()),
            map_step=map_step,
            map_pointer=draw(some.sampled_from(["", "/sections"])) if map_step else "",
            timeout_seconds=draw(some.sampled_from([1, 600, 86_400])),
            max_attempts=draw(some.sampled_from([1, 3, 100])),
            backoff_ms=draw(some.sampled_from([1, 1_000, 60_000])),
            visits=draw(some.sampled_from([1, 5])),
            has_when=draw(some.booleans()),
        )
        steps.append(step)
    return Plan(tuple(steps))


@given(plans())
def test_a_plan_is_read_as_it_was_written(original: Plan) -> None:
    assert Plan.parse(original.compact()) == original


def test_the_plan_of_the_article_pipeline_takes_little() -> None:
    assert len(plan(ARTICLE).encode()) < 200


def test_a_digest_names_a_plan() -> None:
    assert plan(ARTICLE).digest() == plan(list(reversed(ARTICLE))).digest()
    assert plan(ARTICLE).digest() != plan(ARTICLE[3:5]).digest()
