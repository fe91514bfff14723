"""Running one node: its function is called as LangGraph calls it."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, cast

from langchain_core.runnables.config import var_child_runnable_config
from langgraph._internal._constants import (
    CONF,
    CONFIG_KEY_CHECKPOINT_NS,
    CONFIG_KEY_RUNTIME,
    CONFIG_KEY_SCRATCHPAD,
    CONFIG_KEY_SEND,
)
from langgraph._internal._scratchpad import PregelScratchpad
from langgraph.errors import GraphInterrupt
from langgraph.runtime import Runtime

from nagaya_functions import StepError
from nagaya_graphs.loading import fields_of
from nagaya_graphs.results import NodeResult
from nagaya_graphs.state import decode_state, encode_value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.runnables import RunnableConfig
    from langgraph._internal._runnable import RunnableCallable

    from jsonvalues import JsonValue
    from nagaya_graphs.context import NodeContext
    from nagaya_graphs.loading import Graph

INTERRUPT = "interrupt"
"""The key of what a node returns that asks a person."""


async def run_node(
    graph: Graph,
    node: str,
    state: Mapping[str, JsonValue],
    context: NodeContext,
    answers: Sequence[JsonValue] = (),
) -> JsonValue:
    """Call a node's function on a state; return its result as NodeResult.as_json does.

    A node that calls LangGraph's `interrupt` once more than there are `answers` ends there: then
    the result is `{"interrupt": …}`, what it asks. It begins anew once there is an answer.

    Raises StepError as NodeResult.of does, and whatever the function raises.
    """
    if node not in graph.nodes:
        raise StepError("NODE_NOT_FOUND", f"the graph has no node {node}", retryable=False)
    runnable = cast("RunnableCallable", graph.nodes[node].runnable)
    config: RunnableConfig = {
        CONF: {
            CONFIG_KEY_CHECKPOINT_NS: node,
            CONFIG_KEY_RUNTIME: Runtime(context=context),
            CONFIG_KEY_SCRATCHPAD: _scratchpad(answers),
            CONFIG_KEY_SEND: _ignore,
        }
    }
    token = var_child_runnable_config.set(config)  # where `interrupt` looks
    try:
        returned: object = await runnable.ainvoke(decode_state(state), config)
    except GraphInterrupt as interrupted:
        (interrupt,) = interrupted.args[0]
        return {INTERRUPT: encode_value(INTERRUPT, interrupt.value)}
    finally:
        var_child_runnable_config.reset(token)
    return NodeResult.of(returned, fields_of(graph)).as_json()


def _scratchpad(answers: Sequence[JsonValue]) -> PregelScratchpad:
    return PregelScratchpad(
        step=0,
        stop=1,
        call_counter=count().__next__,
        interrupt_counter=count().__next__,
        get_null_resume=_none,
        resume=list(answers),
        subgraph_counter=count().__next__,
    )


def _none(_: bool) -> None:  # noqa: FBT001 - LangGraph's signature
    return None


def _ignore(_: object) -> None:
    return None
