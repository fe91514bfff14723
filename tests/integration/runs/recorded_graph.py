"""The graph of recorded histories: supersteps with Sends, a Command that goes round, a question."""

# LangGraph leaves type parameters of its methods open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import operator
from typing import Annotated, Literal, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send
from temporalio.exceptions import ApplicationError

from nagaya_graphs.running import RunnableGraph
from runs.domain.node_walks import NodeWalk, NodeWalked
from runs.worker.graph_scheduler import GraphInterceptor
from runs.worker.graphs import GraphRegistry, InstalledGraph

GRAPH = "recorded"
FAILING = "failing"
"""A graph that sends to three nodes: the first fails, another activity takes over the second."""
QUESTION = "publish"
ROUNDS = 2


class State(TypedDict, total=False):
    found: Annotated[list[str], operator.add]
    round: int
    decision: str


async def node(state: State) -> State:
    """Stand for a node: a workflow runs none."""
    raise NotImplementedError


async def critic(state: State) -> Command[Literal["plan", "decide"]]:
    raise NotImplementedError


def to_tools(state: State) -> list[Send]:
    return [Send("tool", {"round": number}) for number in range(3)]


def to_failing(state: State) -> list[Send]:
    return [Send("failing", {"round": number}) for number in range(3)]


def interceptor() -> GraphInterceptor:
    """Return what gives workflows the graph."""
    graph = StateGraph(State)
    for name in ("plan", "tool", "decide", "write"):
        graph.add_node(name, node)
    graph.add_node("critic", critic)
    graph.add_edge(START, "plan")
    graph.add_conditional_edges("plan", to_tools, ["tool"])
    graph.add_edge("tool", "critic")
    graph.add_edge("decide", "write")
    graph.add_edge("write", END)
    installed = InstalledGraph("tests:graph", RunnableGraph(graph))
    failing = InstalledGraph("tests:failing", RunnableGraph(_failing()))
    return GraphInterceptor(GraphRegistry({GRAPH: installed, FAILING: failing}))


def _failing() -> StateGraph[State, None, State, State]:
    graph = StateGraph(State)
    for name in ("plan", "failing"):
        graph.add_node(name, node)
    graph.add_edge(START, "plan")
    graph.add_conditional_edges("plan", to_failing, ["failing"])
    graph.add_edge("failing", END)
    return graph


def returned(walk: NodeWalk, *, local: bool) -> NodeWalked:
    """Return what a node does; another activity takes over the second tool of each round."""
    match walk.node:
        case "plan":
            return NodeWalked(update={"round": walk.visit})
        case "failing" if walk.item == 1:
            raise ApplicationError("it broke", type="BROKEN", non_retryable=True)
        case "tool" | "failing" if local and walk.item == 2:
            return NodeWalked(more=True, attempts=[[0, walk.item, 1, 1, 0, 0]])
        case "tool":
            return NodeWalked(update={"found": [f"{walk.visit}-{walk.item}"]})
        case "critic":
            return NodeWalked(goto=["plan" if walk.visit < ROUNDS else "decide"])
        case "decide" if not walk.answers:
            return NodeWalked(question=QUESTION)
        case "decide":
            return NodeWalked(update={"decision": "approved"})
        case _:
            return NodeWalked()
