"""Graphs by their entry points, and what a graph must be to run as a pipeline."""

# LangGraph leaves type parameters open, and tells of a graph's defaults in a private field.
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import dataclasses
import re
from importlib.metadata import EntryPoint
from typing import Any, TypeAlias, is_typeddict

from langgraph._internal._runnable import RunnableCallable
from langgraph.graph import StateGraph
from langgraph.graph.state import CompiledStateGraph

from nagaya_graphs.context import ENTRY_POINT_GROUP

Graph: TypeAlias = StateGraph[Any, Any, Any, Any]

_NODE = re.compile(r"[a-z][a-z0-9_-]{0,62}")
INPUT = "input"
"""The field of the state that gets the run's input, where a graph has it; no node is named so."""


class GraphUnusable(Exception):
    """A graph cannot run as a pipeline; the message says why."""


def load_graph(entry_point: str) -> Graph:
    """Import the graph at `module:attribute`: a StateGraph, what compiled one, or a function
    without arguments that returns one.

    Raises GraphUnusable, and whatever the module raises.
    """
    found: object = EntryPoint("", entry_point, ENTRY_POINT_GROUP).load()
    if callable(found) and not isinstance(found, (StateGraph, CompiledStateGraph)):
        found = found()
    if isinstance(found, CompiledStateGraph):
        found = found.builder
    if not isinstance(found, StateGraph):
        raise GraphUnusable(f"{entry_point} is a {type(found).__name__}: offer a StateGraph")
    check_graph(found)
    return found


def check_graph(graph: Graph) -> None:
    """Raise GraphUnusable for what a graph may be elsewhere, and cannot be as a pipeline."""
    for schema in graph.schemas:
        if not is_typeddict(schema):
            raise GraphUnusable(f"its schema {schema.__name__} is no TypedDict")
    defaults = graph._node_defaults
    if any(getattr(defaults, each.name) is not None for each in dataclasses.fields(defaults)):
        raise GraphUnusable("it has defaults for its nodes: the pipeline's steps say these")
    for name, each in graph.nodes.items():
        if not _NODE.fullmatch(name) or name == INPUT:
            raise GraphUnusable(
                f"its node {name!r} has no name that a step may have: 1 to 63 lower-case letters, "
                f"digits, hyphens and underscores, the first a letter, and not `{INPUT}`"
            )
        if not isinstance(each.runnable, RunnableCallable):
            raise GraphUnusable(f"its node {name} is no function: a graph in a graph is none")
        if each.retry_policy or each.timeout:
            raise GraphUnusable(
                f"its node {name} has a retry policy or a timeout: the pipeline's steps say these"
            )
        if each.cache_policy or each.error_handler_node or each.is_error_handler:
            raise GraphUnusable(f"its node {name} has a cache policy or an error handler")


def fields_of(graph: Graph) -> frozenset[str]:
    """Return the fields of a graph's state."""
    return frozenset(graph.channels)
