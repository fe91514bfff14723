"""LangGraph graphs as pipelines: the types that their authors use.

A graph is a `langgraph.graph.StateGraph` whose state is a TypedDict of references to files and
small values, offered as an entry point of the group `nagaya.graphs`. Its nodes get a `NodeContext`
as `runtime.context`. `nagaya_graphs.testing` runs one without a server.
"""

from __future__ import annotations

from nagaya_functions import FilePointer, Json, JsonMapping, JsonValue, StepError
from nagaya_graphs.context import ENTRY_POINT_GROUP, ModelInput, NodeContext
from nagaya_graphs.state import STATE_BYTES, TEXT_CHARACTERS

__all__ = [
    "ENTRY_POINT_GROUP",
    "STATE_BYTES",
    "TEXT_CHARACTERS",
    "FilePointer",
    "Json",
    "JsonMapping",
    "JsonValue",
    "ModelInput",
    "NodeContext",
    "StepError",
]
