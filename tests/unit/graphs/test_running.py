"""Graphs that are walked while somebody else runs their nodes."""

from __future__ import annotations

import asyncio
import operator
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, TypedDict, cast

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime  # noqa: TC002 - LangGraph reads annotations
from langgraph.types import Command, RetryPolicy, Send, interrupt
from pydantic import BaseModel

from nagaya_functions import FilePointer, StepError
from nagaya_graphs import NodeContext  # noqa: TC001 - LangGraph reads annotations
from nagaya_graphs.loading import GraphUnusable
from nagaya_graphs.nodes import run_node
from nagaya_graphs.results import NodeResult
from nagaya_graphs.running import MOST_CALLS, NodeCall, RunnableGraph
from nagaya_graphs.testing import GraphHarness

if TYPE_CHECKING:
    from collections.abc import Callable


Update: TypeAlias = dict[str, object]


class State(TypedDict):
    input: FilePointer
    count: int
    limit: int
    numbers: Annotated[list[int], operator.add]


class One(TypedDict):
    number: int


async def start(state: State) -> Update:
    return {"count": 0}


async def square(state: One) -> Update:
    return {"numbers": [state["number"] ** 2]}


async def review(state: State) -> Command[Literal["fan", "__end__"]]:
    count = state["count"] + 1
    goto: Literal["fan", "__end__"] = "fan" if count < state["limit"] else "__end__"
    return Command(update={"count": count}, goto=goto)


async def nothing(state: State) -> None:
    return None


def sends(state: State) -> list[Send]:
    return [Send("square", {"number": number}) for number in range(1, 4)]


def looping() -> StateGraph[Any, Any, Any, Any]:
    graph = StateGraph(State)
    graph.add_node("start", start)
    graph.add_node("fan", nothing)
    graph.add_node("square", square, input_schema=One)
    graph.add_node("review", review)
    graph.add_edge(START, "start")
    graph.add_edge("start", "fan")
    graph.add_conditional_edges("fan", sends, ["square"])
    graph.add_edge("square", "review")
    return graph


def of_one(node: Any, **more: Any) -> StateGraph[Any, Any, Any, Any]:  # noqa: ANN401
    graph = StateGraph(State)
    graph.add_node("only", node, **more)
    graph.add_edge(START, "only")
    return graph


async def test_sends_are_items_of_a_node_and_supersteps_its_visits() -> None:
    ended = await GraphHarness().run(looping(), arguments={"limit": 2})

    assert ended.state["numbers"] == [1, 4, 9] * 2
    assert [(visit.node, visit.item, visit.visit) for visit in ended.visits] == [
        ("start", 0, 1),
        ("fan", 0, 1),
        *(("square", item, 1) for item in (1, 2, 3)),
        ("review", 0, 1),
        ("fan", 0, 2),
        *(("square", item, 2) for item in (1, 2, 3)),
        ("review", 0, 2),
    ]


async def test_a_node_runs_as_often_as_the_graph_says_although_its_state_is_the_same() -> None:
    graph = of_one(nothing)
    graph.add_edge("only", "only")
    calls = 0

    async def run_node(call: NodeCall) -> NodeResult:
        nonlocal calls
        calls += 1
        return NodeResult()

    with pytest.raises(StepError) as refused:
        await RunnableGraph(graph).run({}, run_node, recursion_limit=7)

    assert (refused.value.reason, calls) == ("GRAPH_TOO_LONG", 7)


async def test_a_graph_of_too_many_nodes_ends() -> None:
    def far(state: State) -> list[Send]:
        return [Send("square", {"number": n}) for n in range(MOST_CALLS)]

    graph = StateGraph(State)
    graph.add_node("fan", nothing)
    graph.add_node("square", square, input_schema=One)
    graph.add_edge(START, "fan")
    graph.add_conditional_edges("fan", far, ["square"])

    async def run_node(call: NodeCall) -> NodeResult:
        return NodeResult()

    with pytest.raises(StepError) as refused:
        await RunnableGraph(graph).run({}, run_node, recursion_limit=7)

    assert refused.value.reason == "GRAPH_TOO_LONG"


async def test_nodes_that_still_run_are_cancelled_and_waited_for_when_one_fails() -> None:
    ended: list[int] = []

    async def run_node(call: NodeCall) -> NodeResult:
        if call.node != "square":
            return NodeResult({"count": 0} if call.node == "start" else {})
        if call.item == 2:
            raise StepError("BROKEN", "the second one")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(call.item)
        raise AssertionError

    with pytest.raises(StepError, match="the second one"):
        await RunnableGraph(looping()).run({"limit": 1}, run_node, recursion_limit=9)

    assert ended == [1, 3]


async def test_a_state_that_grows_over_the_limit_is_refused_before_the_next_node() -> None:
    graph = looping()

    async def run_node(call: NodeCall) -> NodeResult:
        return NodeResult({"numbers": [10**60] * 30}, ["fan"] if call.node == "review" else [])

    with pytest.raises(StepError) as refused:
        await RunnableGraph(graph).run({"limit": 1}, run_node, recursion_limit=99)

    assert refused.value.reason == "STATE_TOO_LARGE"
    assert " numbers " in refused.value.message


@pytest.mark.parametrize(
    ("returned", "reason"),
    [
        ({"count": "x" * 300}, "STATE_TOO_LARGE"),
        ({"unknown": 1}, "STATE_INVALID"),
        ([{"count": 1}], "NODE_RESULT_INVALID"),
        (
            Command(goto=[Send("only", {"count": n, "limit": 2**60}) for n in range(90)]),
            "STATE_TOO_LARGE",
        ),
        (Command(graph=Command.PARENT), "NODE_RESULT_INVALID"),
        (Command(goto=Send("only", "text")), "NODE_RESULT_INVALID"),
    ],
)
async def test_what_a_node_may_not_return_fails_its_step(returned: object, reason: str) -> None:
    async def node(state: State) -> object:
        return returned

    with pytest.raises(StepError) as refused:
        await GraphHarness().run(of_one(node))

    assert (refused.value.reason, refused.value.retryable) == (reason, False)


async def test_a_node_gets_its_context_and_asks_its_model() -> None:
    async def node(state: State, runtime: Runtime[NodeContext]) -> Update:
        context = runtime.context
        assert (context.step, context.item, context.visit) == ("only", 0, 1)
        first = await context.ask_model(topic=state["input"].inside("/topic"))
        second = await context.ask_model(both=["text", first])
        await context.write("sum.txt", b"sum", "text/plain")
        return {"count": len(str(await context.read(second)))}

    harness = GraphHarness()
    harness.add_replies("only", {"score": 1}, "four")
    ended = await harness.run(of_one(node), {"topic": "cranes"})

    assert ended.state["count"] == 4
    (visit,) = ended.visits
    assert visit.files == {"sum.txt": b"sum"}
    assert [sorted(variables) for variables in visit.asked] == [["topic"], ["both"]]


async def test_a_node_that_asks_begins_anew_with_the_answer_and_its_calls_are_not_made_again() -> (
    None
):
    runs = 0

    async def node(state: State, runtime: Runtime[NodeContext]) -> Update:
        nonlocal runs
        runs += 1
        await runtime.context.ask_model(topic="x")
        return {"count": interrupt({"question": "how many?"})}

    harness = GraphHarness()
    harness.add_replies("only", "once")
    harness.add_answers("only", 7)
    ended = await harness.run(of_one(node))

    assert (ended.state["count"], runs) == (7, 2)


async def test_a_synchronous_node_and_a_synchronous_route_do() -> None:
    def node(state: State) -> Update:
        return {"count": 3}

    graph = of_one(node)
    graph.add_conditional_edges("only", lambda state: END if state["count"] == 3 else "only")

    assert (await GraphHarness().run(graph)).state["count"] == 3


class Model(BaseModel):
    count: int


def _pydantic() -> StateGraph[Any, Any, Any, Any]:
    graph = StateGraph(Model)
    graph.add_node("only", nothing)
    graph.add_edge(START, "only")
    return graph


@pytest.mark.parametrize(
    ("graph", "why"),
    [
        (lambda: of_one(nothing, retry_policy=RetryPolicy()), "retry policy"),
        (lambda: of_one(looping().compile()), "no function"),
        (_pydantic, "TypedDict"),
    ],
)
def test_a_graph_that_cannot_be_a_pipeline_is_refused_when_it_is_loaded(
    graph: Callable[[], StateGraph[Any, Any, Any, Any]], why: str
) -> None:
    with pytest.raises(GraphUnusable, match=why):
        RunnableGraph(graph())


async def test_a_node_that_the_graph_does_not_have_is_not_run() -> None:
    context = cast("NodeContext", None)

    with pytest.raises(StepError) as refused:
        await run_node(of_one(nothing), "other", {}, context)

    assert refused.value.reason == "NODE_NOT_FOUND"
