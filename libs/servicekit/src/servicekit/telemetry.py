"""Start of logs, metrics and spans, and W3C trace context."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import disable_created_metrics

from monitoring.garbage import GarbagePauses
from monitoring.metrics import LOG_DROPPED
from monitoring.probes import Probes
from servicekit import logs
from servicekit.call import current_call
from servicekit.errors import StartRefused

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider

    from servicekit.settings import ServerConfig

_propagator = TraceContextTextMapPropagator()


def start(service_name: str, config: ServerConfig) -> Probes:
    """Start logs, metrics and spans as configured. Call it once, first. Raises StartRefused.

    What it returns says over HTTP whether the process lives, and what it waits for.
    """
    handler = logs.start(service_name, config.log_level)
    LOG_DROPPED.set_function(lambda: handler.writer.dropped)
    probes = Probes()
    if config.metrics_port:
        GarbagePauses()
        disable_created_metrics()  # they would double the series
        try:
            probes.serve(config.listen_host, config.metrics_port)
        except OSError as error:
            message = f"no metrics on port {config.metrics_port}: {error.strerror}"
            raise StartRefused(message) from None
    if config.otlp_endpoint:
        trace.set_tracer_provider(_provider(service_name, config.otlp_endpoint))
    return probes


def stop() -> None:
    """Send the spans and write the log lines that are queued. Blocks for 8 s at most."""
    flush = getattr(trace.get_tracer_provider(), "force_flush", None)
    if flush is not None:
        flush(3000)
    logs.stop()


def tracer() -> trace.Tracer | None:
    """Return the tracer; None when spans are not exported, so that none are made."""
    provider = trace.get_tracer_provider()
    exported = not isinstance(provider, (trace.ProxyTracerProvider, trace.NoOpTracerProvider))
    return provider.get_tracer("servicekit") if exported else None


def context_of(traceparent: str | None) -> Context | None:
    """Return the trace context that a W3C traceparent names; None when there is none."""
    if traceparent is None:
        return None
    # Extracted into an empty context: the current one may hold a span that is not the caller's.
    found = _propagator.extract({"traceparent": traceparent}, otel_context.Context())
    return found if trace.get_current_span(found).get_span_context().is_valid else None


def traceparent_of(span: trace.Span) -> str:
    """Return the W3C traceparent of a span."""
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def make_current(span: trace.Span) -> None:
    """Make a span the current one for the rest of this task."""
    otel_context.attach(trace.set_span_in_context(span))


def exemplar() -> dict[str, str] | None:
    """Return the trace of the current call, for a histogram; None when spans go nowhere."""
    call = current_call()
    if call is None or call.traceparent is None or tracer() is None:
        return None
    return {"trace_id": call.traceparent[3:35]}


def _provider(service_name: str, endpoint: str) -> TracerProvider:
    # Imported here: the exporter costs start-up time and memory, and is rarely configured.
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    provider = TracerProvider(resource=Resource.create({"service.name": service_name}))
    exporter = OTLPSpanExporter(endpoint=endpoint, insecure=not endpoint.startswith("https"))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider
