"""Graphs of pipelines on the wire."""

from __future__ import annotations

from nagaya.runs.v1 import pipeline_pb2 as pb
from runs.domain.graph_specs import GraphSpec
from runs.domain.plan import RECURSION_LIMIT
from runs.wire.structs import given_object, struct, text_beside


def graph_spec(message: pb.GraphSpec) -> GraphSpec:
    text = message.arguments_json
    arguments = given_object(text, message.arguments, "spec.graph.arguments_json")
    return GraphSpec(message.graph, arguments, message.recursion_limit or RECURSION_LIMIT)


def graph_message(graph: GraphSpec) -> pb.GraphSpec:
    return pb.GraphSpec(
        graph=graph.graph,
        arguments=struct(graph.arguments),
        arguments_json=text_beside(graph.arguments),
        recursion_limit=graph.recursion_limit,
    )
