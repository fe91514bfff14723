"""Calling a node: for workers and the test harness, not for authors."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Protocol

from nagaya_functions import FilePointer
from nagaya_functions.calls import FunctionContext, call_function
from nagaya_graphs.nodes import run_node

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from jsonvalues import JsonValue
    from nagaya_functions.calls import FunctionResult
    from nagaya_graphs.context import ModelInput
    from nagaya_graphs.loading import Graph


class Models(Protocol):
    """How the model of a node is reached."""

    async def ask(
        self, call: int, variables: Mapping[str, Sequence[str | FilePointer]]
    ) -> FilePointer:
        """Make the node's call of this number, unless it was made. Raises StepError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCallContext(FunctionContext):
    """The NodeContext of a call, whose files and models somebody else reaches."""

    models: Models
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    async def ask_model(self, **variables: ModelInput) -> FilePointer:
        pieces = {
            name: (value,) if isinstance(value, (str, FilePointer)) else tuple(value)
            for name, value in variables.items()
        }
        return await self.models.ask(next(self.numbers), pieces)


@dataclass(frozen=True, slots=True)
class NodeWork:
    """Which node is to be called, on which state, with which answers to what it has asked."""

    node: str
    state: Mapping[str, JsonValue]
    answers: Sequence[JsonValue] = ()


async def call_node(
    graph: Graph, work: NodeWork, context: NodeCallContext, metrics: Mapping[str, str]
) -> FunctionResult:
    """Call a node as `call_function` calls a function."""

    async def call(_: FunctionContext) -> JsonValue:
        return await run_node(graph, work.node, work.state, context, work.answers)

    return await call_function(call, context, metrics)
