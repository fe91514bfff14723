"""Running a graph whose nodes somebody else runs: in a workflow, or in a test.

LangGraph walks the graph in supersteps: edges, conditional edges, `Command`, `Send` and reducers
are its own. Everything is deterministic, as far as the graph's own routes and reducers are.
"""

# LangGraph leaves type parameters of its methods open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import copy
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_core.runnables import RunnableConfig  # noqa: TC002 - LangGraph reads annotations
from langgraph._internal._runnable import RunnableCallable
from langgraph.errors import GraphRecursionError

from nagaya_functions import StepError
from nagaya_graphs.loading import check_graph, fields_of
from nagaya_graphs.state import INVALID, decode_state, encode_state

if TYPE_CHECKING:
    from jsonvalues import JsonValue
    from nagaya_graphs.loading import Graph
    from nagaya_graphs.results import NodeResult

MOST_CALLS = 1_000
"""How many nodes are run at most in all: each is in the workflow's history."""

_RUN = "nagaya_run"
_PUSH = "__pregel_push"


@dataclass(frozen=True, slots=True)
class NodeCall:
    """A node that is to be run: which, for which time, on which state."""

    node: str
    item: int
    """Which of those that a Send started in one superstep, from 1; 0 when an edge started it."""
    visit: int
    """Which of the supersteps in which it runs, from 1."""
    state: dict[str, JsonValue]


RunNode: TypeAlias = Callable[[NodeCall], Awaitable["NodeResult"]]


class RunnableGraph:
    """A graph that is compiled once, and run any number of times."""

    def __init__(self, graph: Graph) -> None:
        """Raises GraphUnusable, and ValueError for a graph that LangGraph does not compile."""
        check_graph(graph)
        self.nodes = frozenset(graph.nodes)
        self.fields = fields_of(graph)
        self._compiled = _with_other_nodes(graph).compile(checkpointer=False)

    async def run(
        self, state: Mapping[str, JsonValue], run_node: RunNode, *, recursion_limit: int
    ) -> dict[str, JsonValue]:
        """Run the graph from a state on; return the state at its end.

        Raises what `run_node` raises: nodes that still run are then cancelled and waited for.
        Raises StepError, STATE_TOO_LARGE or STATE_INVALID for a state, GRAPH_TOO_LONG for more
        supersteps than `recursion_limit` or more than 1,000 nodes, and whatever a route or a
        reducer raises.
        """
        unknown = sorted(state.keys() - self.fields)
        if unknown:
            raise StepError(
                INVALID, f"the graph's state has no field {unknown[0]}", retryable=False
            )
        run = _Run(run_node)
        config: RunnableConfig = {"recursion_limit": recursion_limit, "configurable": {_RUN: run}}
        try:
            ended = await self._compiled.ainvoke(decode_state(state), config)
        except GraphRecursionError:
            message = f"the graph has not ended after {recursion_limit} supersteps"
            raise StepError("GRAPH_TOO_LONG", message, retryable=False) from None
        finally:
            await run.cancel()
        return encode_state(ended)


@dataclass(slots=True)
class _Run:
    run_node: RunNode
    calls: int = 0
    supersteps: dict[str, dict[int, int]] = field(
        default_factory=lambda: defaultdict[str, dict[int, int]](dict)
    )
    """By node: the supersteps in which it has run, and how many Sends started it in each."""
    running: list[asyncio.Future[NodeResult]] = field(
        default_factory=list["asyncio.Future[NodeResult]"]
    )
    """In the order in which they began, which a replay repeats."""

    async def call(self, node: str, state: Mapping[str, object], config: RunnableConfig) -> object:
        about: dict[str, Any] = config.get("metadata", {})
        superstep: int = about["langgraph_step"]
        seen = self.supersteps[node]
        sent = seen.setdefault(superstep, 0)
        if about["langgraph_path"][0] == _PUSH:
            sent = seen[superstep] = sent + 1
        else:
            sent = 0
        self.calls += 1
        if self.calls > MOST_CALLS:
            message = f"the graph has run {MOST_CALLS:,} nodes, and has not ended"
            raise StepError("GRAPH_TOO_LONG", message, retryable=False)
        call = NodeCall(node, sent, len(seen), encode_state(state))
        running = asyncio.ensure_future(self.run_node(call))
        self.running.append(running)
        # LangGraph cancels its own tasks, and waits for none.
        result = await asyncio.shield(running)
        self.running.remove(running)
        return result.for_langgraph()

    async def cancel(self) -> None:
        """Cancel what still runs, and wait for it."""
        running = tuple(self.running)
        for each in running:
            each.cancel()
        if running:
            await asyncio.gather(*running, return_exceptions=True)


def _with_other_nodes(graph: Graph) -> Graph:
    """Return a copy of a graph whose nodes have themselves run by the `_Run` of their run."""
    other = copy.copy(graph)
    other.nodes = {
        name: replace(node, runnable=_calling(name)) for name, node in graph.nodes.items()
    }
    other.branches = defaultdict(dict)
    for source, branches in graph.branches.items():
        for name, branch in branches.items():
            other.branches[source][name] = branch._replace(path=_in_place(branch.path))
    return other


def _calling(node: str) -> RunnableCallable:
    async def call(state: Mapping[str, object], config: RunnableConfig) -> object:
        run: _Run = config.get("configurable", {})[_RUN]
        return await run.call(node, state, config)

    return RunnableCallable(None, call, name=node, trace=False, recurse=False)


def _in_place(path: Any) -> Any:  # noqa: ANN401 - a Runnable of any type
    """Return a route that is not handed to a thread, which a workflow does not have."""
    if not isinstance(path, RunnableCallable) or path.func is None:
        return path
    other = copy.copy(path)
    other.afunc = None  # then LangGraph calls `func` where it is
    return other
