"""Prometheus metrics of the calls of each method: count by code, duration, calls in progress."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from monitoring.histogram import PlainHistogram

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric

_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class MethodMetrics:
    """The metrics of one method. Only the event loop writes and a scrape only reads: no locks."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.seconds = PlainHistogram(_BOUNDS)
        self.codes: dict[str, int] = {}

    def end(self, seconds: float, code: str, trace_id: str) -> None:
        """Count a call that has ended; `trace_id` is empty where it has no span."""
        self.in_flight -= 1
        self.seconds.observe(seconds, trace_id)
        self.codes[code] = self.codes.get(code, 0) + 1


class CallCollector(Collector):
    """Exports the metrics of all methods. None has a tenant: see the log and the ledger."""

    def __init__(self) -> None:
        self._methods: dict[str, MethodMetrics] = {}

    def of(self, method: str) -> MethodMetrics:
        """Return the metrics of one method, such as `nagaya.runs.v1.RunService/CreateRun`."""
        return self._methods.setdefault(method, MethodMetrics())

    def collect(self) -> Iterator[Metric]:
        seconds, ended, inside = _families()
        for method, metrics in list(self._methods.items()):
            inside.add_metric([method], metrics.in_flight)
            metrics.seconds.add_to(seconds, [method])
            for code, count in list(metrics.codes.items()):
                ended.add_metric([method, code], count)
        yield from (seconds, ended, inside)

    def describe(self) -> Iterator[Metric]:
        yield from _families()


def _families() -> tuple[HistogramMetricFamily, CounterMetricFamily, GaugeMetricFamily]:
    name = "rpc_method"
    return (
        HistogramMetricFamily(
            "rpc_server_call_duration_seconds", "How long calls took.", labels=[name]
        ),
        CounterMetricFamily(
            "rpc_server_calls", "Calls that ended.", labels=[name, "rpc_response_status_code"]
        ),
        GaugeMetricFamily("rpc_server_calls_in_flight", "Calls in flight.", labels=[name]),
    )


CALLS = CallCollector()
"""The calls of all servers of this process, registered with Prometheus' default registry."""

REGISTRY.register(CALLS)
