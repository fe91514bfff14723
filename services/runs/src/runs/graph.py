"""Plans as LangGraph graphs. The only module that knows LangGraph."""

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


class Walked(TypedDict):
    """The whole state of a graph: a number. Whatever a step leaves behind lies in its files."""

    steps: Annotated[int, operator.add]


@dataclass(frozen=True, slots=True)
class Walk:
    """What one walk through a graph does at each step."""

    do: Callable[[PlanStep], Awaitable[None]]


async def walk(plan: Plan, do: Callable[[PlanStep], Awaitable[None]]) -> int:
    """Do every step once all that it needs is done; return how many there were.

    Steps of equal depth are done together. What `do` raises ends the walk: steps in flight are
    cancelled and waited for.
    """
    limit = len(plan.steps) + 10
    graph = _compiled(plan)
    reached = await graph.ainvoke({"steps": 0}, {"recursion_limit": limit}, context=Walk(do))
    return int(reached["steps"])


@lru_cache(maxsize=_COMPILED_PLANS)
def _compiled(plan: Plan) -> CompiledStateGraph[Walked, Walk, Walked, Walked]:
    graph = StateGraph(Walked, context_schema=Walk)
    for step in plan.steps:
        _add(graph, step)
    return graph.compile()


def _add(graph: StateGraph[Walked, Walk, Walked, Walked], step: PlanStep) -> None:
    async def node(state: Walked, runtime: Runtime[Walk]) -> Walked:
        await runtime.context.do(step)
        return {"steps": 1}

    graph.add_node(step.step, node)
    if step.needs:
        graph.add_edge(list(step.needs), step.step)
    else:
        graph.add_edge(START, step.step)
