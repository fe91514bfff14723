"""Metrics, spans and the propagation of their context."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from typing import TYPE_CHECKING

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import REGISTRY, Gauge, Histogram, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from servicekit import logs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from prometheus_client import Metric

    from servicekit.settings import ServerConfig

_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LABELS = [*(f"{bound:g}" for bound in _BOUNDS), "+Inf"]
_LAG_SECONDS = 0.5
_propagator = TraceContextTextMapPropagator()


class MethodMetrics:
    """Numbers of one method: changed by the event loop only, read by a scrape, so without locks."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.total_seconds = 0.0
        self.buckets = [0] * len(_LABELS)
        self.codes: dict[str, int] = {}

    def end(self, seconds: float, code: str) -> None:
        """Count a call that has ended."""
        self.in_flight -= 1
        self.total_seconds += seconds
        self.buckets[bisect_left(_BOUNDS, seconds)] += 1
        self.codes[code] = self.codes.get(code, 0) + 1


class CallCollector(Collector):
    """The metrics of all methods, never by tenant: that is what logs and the ledger are for."""

    def __init__(self) -> None:
        self._methods: dict[str, MethodMetrics] = {}

    def of(self, method: str) -> MethodMetrics:
        """Return the metrics of one method, such as `nagaya.runs.v1.RunService/CreateRun`."""
        return self._methods.setdefault(method, MethodMetrics())

    def collect(self) -> Iterator[Metric]:
        name = "rpc_method"
        seconds = HistogramMetricFamily(
            "rpc_server_call_duration_seconds", "How long calls took.", labels=[name]
        )
        ended = CounterMetricFamily(
            "rpc_server_calls", "Calls that ended.", labels=[name, "rpc_response_status_code"]
        )
        inside = GaugeMetricFamily("rpc_server_calls_in_flight", "Calls in flight.", labels=[name])
        for method, metrics in list(self._methods.items()):
            inside.add_metric([method], metrics.in_flight)
            seconds.add_metric([method], _cumulative(metrics.buckets), metrics.total_seconds)
            for code, count in list(metrics.codes.items()):
                ended.add_metric([method, code], count)
        yield from (seconds, ended, inside)


CALLS = CallCollector()
REGISTRY.register(CALLS)
LOOP_LAG = Histogram(
    "event_loop_lag_seconds",
    "How late the event loop runs what is due.",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1),
)
LOG_DROPPED = Gauge("log_lines_dropped", "Log lines lost because standard error was too slow.")


def start(service_name: str, config: ServerConfig) -> None:
    """Start logs, metrics and spans of this process, as configured. Call it once, first."""
    handler = logs.start(service_name, config.log_level)
    LOG_DROPPED.set_function(lambda: handler.writer.dropped)
    if config.metrics_port:
        start_http_server(config.metrics_port, addr=config.listen_host)
    if config.otlp_endpoint:
        trace.set_tracer_provider(_provider(service_name, config.otlp_endpoint))


def stop() -> None:
    """Send the spans and log lines that are left. Blocks for some seconds at most."""
    flush = getattr(trace.get_tracer_provider(), "force_flush", None)
    if flush is not None:
        flush(3000)
    logs.stop()


def tracer() -> trace.Tracer | None:
    """Return the tracer, or None when spans go nowhere, so that nobody pays for them."""
    provider = trace.get_tracer_provider()
    exported = not isinstance(provider, (trace.ProxyTracerProvider, trace.NoOpTracerProvider))
    return provider.get_tracer("servicekit") if exported else None


def context_of(traceparent: str | None) -> Context | None:
    """Return the trace context that a W3C traceparent names; None when there is none."""
    if traceparent is None:
        return None
    # Extracted into nothing, not into the current context: what is current is not the caller's.
    found = _propagator.extract({"traceparent": traceparent}, otel_context.Context())
    return found if trace.get_current_span(found).get_span_context().is_valid else None


def traceparent_of(span: trace.Span) -> str:
    """Return the W3C traceparent of a span."""
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def make_current(span: trace.Span) -> None:
    """Make a span the current one for the rest of this task."""
    otel_context.attach(trace.set_span_in_context(span))


async def watch_loop_lag() -> None:
    """Measure, until cancelled, how late the event loop runs."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _LAG_SECONDS
        await asyncio.sleep(_LAG_SECONDS)
        LOOP_LAG.observe(max(0.0, loop.time() - due))


def _cumulative(buckets: list[int]) -> list[tuple[str, float]]:
    sums: list[tuple[str, float]] = []
    for label, count in zip(_LABELS, buckets, strict=True):
        sums.append((label, count + (sums[-1][1] if sums else 0)))
    return sums


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
