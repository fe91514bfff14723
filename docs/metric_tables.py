"""docs/metrics.md: every metric that a process exports, read from the modules that declare them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import CollectorRegistry

import artifacts.metrics
import llm_gateway.metrics
import monitoring.calls
import monitoring.metrics
import runs.api.metrics
import runs.metrics
import runs.worker.metrics
import tenant.metrics
from monitoring.calls import CallCollector
from monitoring.garbage import GarbagePauses
from monitoring.readings import ReadGauge

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prometheus_client import Metric

_HEAD = """\
# Metrics

Made by `make docs` from the modules that declare them.

Each process answers `/metrics` on `NAGAYA_METRICS_PORT`: in Prometheus' text, or in OpenMetrics for
a scraper that asks for it, then with exemplars (`trace_id`) where spans are exported. No metric has
a tenant as label, nor anything else without a bound: names of pipelines, models and reasons beyond
the first 100 or 200 of a process count as `other`. Where OpenTelemetry has a name, it is used:
`rpc_*`, `gen_ai_*`. A histogram has the series `_bucket`, `_sum` and `_count`.

Beside these, prometheus-client exports `process_*` (CPU, memory, open files) and `python_gc_*`.
Dashboards, alerts and a sample of Prometheus' configuration are in
[deploy/monitoring](../deploy/monitoring/README.md).
"""
_MODULES: Mapping[str, object] = {
    "Every process": monitoring.metrics,
    "Every service, for each method of its API": monitoring.calls,
    "runs: API and workers": runs.metrics,
    "runs: API": runs.api.metrics,
    "runs: workers": runs.worker.metrics,
    "llm-gateway": llm_gateway.metrics,
    "artifacts": artifacts.metrics,
    "tenant": tenant.metrics,
}


@dataclass(frozen=True, slots=True)
class MetricDescription:
    """A metric as Prometheus sees it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str

    @property
    def series(self) -> frozenset[str]:
        """The names of its series."""
        if self.kind == "histogram":
            return frozenset(f"{self.name}{end}" for end in ("_bucket", "_sum", "_count"))
        return frozenset({self.name})

    def row(self) -> tuple[str, ...]:
        labels = ", ".join(f"`{label}`" for label in self.labels)
        return f"`{self.name}`", self.kind, labels, self.meaning


def described() -> dict[str, tuple[MetricDescription, ...]]:
    """Return the metrics of each kind of process, sorted by name."""
    found = {heading: _of(vars(module).values()) for heading, module in _MODULES.items()}
    found["Every process"] += _of([GarbagePauses(CollectorRegistry())])
    return {
        heading: tuple(sorted(metrics, key=lambda metric: metric.name))
        for heading, metrics in found.items()
    }


def page(table: Any) -> str:  # noqa: ANN401 - the table of docs.generate
    """Return the text of docs/metrics.md."""
    parts = [_HEAD]
    for heading, metrics in described().items():
        rows = (metric.row() for metric in metrics)
        parts += [f"## {heading}\n", table(("metric", "type", "labels", "meaning"), rows)]
    return "\n".join(parts)


def _of(values: Iterable[object]) -> tuple[MetricDescription, ...]:
    return tuple(each for value in values for each in _descriptions(value))


def _descriptions(value: object) -> Iterator[MetricDescription]:
    if not isinstance(value, MetricWrapperBase | ReadGauge | CallCollector | GarbagePauses):
        return
    families: Iterable[Metric] = value.describe()
    for family in families:
        # Where a library's own class holds its labels, it tells them to nobody.
        labels: tuple[str, ...] = getattr(family, "_labelnames", ()) or ()
        own: tuple[str, ...] = getattr(value, "_labelnames", ())
        name = f"{family.name}_total" if family.type == "counter" else family.name
        yield MetricDescription(
            name, family.type, tuple(labels) or tuple(own), family.documentation
        )
