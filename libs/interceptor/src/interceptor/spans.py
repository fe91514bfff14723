"""The OpenTelemetry server span of a call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry import trace

from servicekit import telemetry

if TYPE_CHECKING:
    from interceptor.server_call import ServerCall

_SERVER_FAULTS = frozenset({"UNKNOWN", "INTERNAL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "DATA_LOSS"})


def start_span(tracer: trace.Tracer, call: ServerCall, traceparent: str | None) -> None:
    """Start the server span of a call: a child of a workload's span, linked to a person's.

    So a person's traceparent does not decide what is sampled.
    """
    trusted = call.principal is not None and call.principal.workload is not None
    parent = telemetry.context_of(traceparent)
    links = [trace.Link(trace.get_current_span(parent).get_span_context())] if parent else []
    name = call.method.path[1:] if call.method else ""
    span = call.span = tracer.start_span(
        name,
        context=parent if trusted else None,
        kind=trace.SpanKind.SERVER,
        links=[] if trusted else links,
        attributes={"rpc.system.name": "grpc", "rpc.method": name},
    )
    call.traceparent = telemetry.traceparent_of(span)
    telemetry.make_current(span)


def end_span(span: trace.Span, call: ServerCall) -> None:
    """End the span of a call; only codes that are the server's fault mark it as an error."""
    span.set_attribute("rpc.response.status_code", call.code)
    if call.code in _SERVER_FAULTS:
        span.set_attribute("error.type", call.reason or call.code)
        span.set_status(trace.StatusCode.ERROR)
    span.end()
