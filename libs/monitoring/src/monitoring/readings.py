"""Gauges with labels whose values are read when Prometheus scrapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prometheus_client import CollectorRegistry, Metric

Readings: TypeAlias = "Iterable[tuple[tuple[str, ...], float]]"


class ReadGauge(Collector):
    """A gauge that costs nothing until it is read.

    `read_by` names what to read, in the thread of the scrape: it copies what the event loop changes
    before it iterates over it. Values of the same labels are added up.
    """

    def __init__(
        self,
        name: str,
        meaning: str,
        labels: tuple[str, ...] = (),
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self.name = name
        self.meaning = meaning
        self.labels = labels
        self._sources: list[Callable[[], Readings]] = []
        registry.register(self)

    def read_by(self, source: Callable[[], Readings]) -> None:
        """Read the values of a source too, from now on."""
        self._sources.append(source)

    def collect(self) -> Iterator[Metric]:
        sums: dict[tuple[str, ...], float] = {}
        for source in self._sources:
            for labels, value in source():
                sums[labels] = sums.get(labels, 0.0) + value
        family = GaugeMetricFamily(self.name, self.meaning, labels=self.labels)
        for labels, value in sums.items():
            family.add_metric(labels, value)
        yield family

    def describe(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(self.name, self.meaning, labels=self.labels)
