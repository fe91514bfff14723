"""Plans as LangGraph graphs, walked in supersteps."""

# LangGraph leaves type parameters of its methods open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import operator
from collections.abc import Awaitable, Callable  # noqa: TC003 - LangGraph reads annotations
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, TypedDict

from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime  # noqa: TC002 - LangGraph reads a node's annotations

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph

    from runs.domain.plan import Plan, PlanStep

_COMPILED_PLANS = 256


class GraphState(TypedDict):
    """How many steps are done. Whatever a step leaves behind lies in its files."""

    steps: Annotated[int, operator.add]


@dataclass(frozen=True, slots=True)
class GraphContext:
    """What one invocation of a graph does at each step."""

    run_step: Callable[[PlanStep], Awaitable[None]]


async def run_plan(plan: Plan, run_step: Callable[[PlanStep], Awaitable[None]]) -> int:
    """Run every step once all that it needs is done; return how many there were.

    Steps of equal depth run together. What `run_step` raises ends the graph: steps that still run
    are cancelled and waited for.
    """
    limit = len(plan.steps) + 10
    graph = _compiled(plan)
    final = await graph.ainvoke(
        {"steps": 0}, {"recursion_limit": limit}, context=GraphContext(run_step)
    )
    return int(final["steps"])


@lru_cache(maxsize=_COMPILED_PLANS)
def _compiled(plan: Plan) -> CompiledStateGraph[GraphState, GraphContext, GraphState, GraphState]:
    graph = StateGraph(GraphState, context_schema=GraphContext)
    for step in plan.steps:
        _add(graph, step)
    return graph.compile()


def _add(
    graph: StateGraph[GraphState, GraphContext, GraphState, GraphState], step: PlanStep
) -> None:
    async def node(state: GraphState, runtime: Runtime[GraphContext]) -> GraphState:
        await runtime.context.run_step(step)
        return {"steps": 1}

    graph.add_node(step.step, node)
    if step.needs:
        graph.add_edge(list(step.needs), step.step)
    else:
        graph.add_edge(START, step.step)
