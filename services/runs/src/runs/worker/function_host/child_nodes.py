"""Nodes of graphs in the process of functions."""

from __future__ import annotations

from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING

from nagaya_functions.calls import FunctionContext
from nagaya_graphs.calls import NodeCallContext, NodeWork, call_node
from nagaya_graphs.loading import load_graph
from runs.worker.function_host.frames import Frame, FrameKind, piece_fields, read_pointer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence

    from nagaya_functions import FilePointer
    from nagaya_functions.calls import FunctionResult
    from nagaya_graphs.loading import Graph


def prepare_node(
    frame: Frame,
    context: FunctionContext,
    request: Callable[..., Awaitable[Frame]],
    graphs: MutableMapping[str, Graph],
) -> Callable[[], Awaitable[FunctionResult]]:
    """Import a node's graph, unless it is among `graphs`; return what calls the node.

    Raises whatever the graph's module raises.
    """
    entry_point: str = frame.fields["entry_point"]
    if entry_point not in graphs:
        graphs[entry_point] = load_graph(entry_point)
    given = {each.name: getattr(context, each.name) for each in fields(FunctionContext)}
    node_context = NodeCallContext(**given, models=_WorkerModels(request))
    work = NodeWork(**frame.fields["node"])
    return partial(call_node, graphs[entry_point], work, node_context, frame.fields["metrics"])


class _WorkerModels:
    """The model of a call's node, which the worker asks."""

    def __init__(self, request: Callable[..., Awaitable[Frame]]) -> None:
        self._request = request

    async def ask(
        self, call: int, variables: Mapping[str, Sequence[str | FilePointer]]
    ) -> FilePointer:
        pieces = {name: list(map(piece_fields, each)) for name, each in variables.items()}
        answer = await self._request(FrameKind.ASK_MODEL, call_number=call, variables=pieces)
        return read_pointer(answer.fields["file"])
