"""How long garbage collections stop the process."""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING, Any

from prometheus_client import REGISTRY
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from monitoring.histogram import PlainHistogram

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from prometheus_client import CollectorRegistry, Metric

_BOUNDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


class GarbagePauses(Collector):
    """The pauses of collections, by generation.

    A collection may begin wherever an object is made, also inside a lock: so none is taken here.
    """

    name = "python_gc_pause_seconds"
    meaning = "How long garbage collections stopped the process."
    labels = ("generation",)

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._pauses: Sequence[PlainHistogram] = [PlainHistogram(_BOUNDS) for _ in gc.get_stats()]
        self._begun = 0.0
        registry.register(self)
        gc.callbacks.append(self._on_collection)

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(self.name, self.meaning, labels=self.labels)
        for generation, pauses in enumerate(self._pauses):
            pauses.add_to(family, [str(generation)])
        yield family

    def describe(self) -> Iterator[Metric]:
        yield HistogramMetricFamily(self.name, self.meaning, labels=self.labels)

    def _on_collection(self, phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            self._begun = time.perf_counter()
        else:
            generation: int = info["generation"]
            self._pauses[generation].observe(time.perf_counter() - self._begun)
