from __future__ import annotations

import gc

from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.openmetrics.exposition import generate_latest

from monitoring.garbage import GarbagePauses
from monitoring.histogram import PlainHistogram
from monitoring.labels import OTHER, BoundedLabel
from monitoring.readings import ReadGauge


def test_a_label_has_no_more_values_than_its_bound() -> None:
    label = BoundedLabel(2)

    assert [label.of(name) for name in ("a", "b", "c", "a")] == ["a", "b", OTHER, "a"]


def test_a_gauge_adds_up_what_its_sources_read() -> None:
    registry = CollectorRegistry()
    gauge = ReadGauge("busy", "How many are busy.", ("server",), registry)
    gauge.read_by(lambda: [(("main",), 2), (("other",), 1)])
    gauge.read_by(lambda: [(("main",), 3)])

    assert registry.get_sample_value("busy", {"server": "main"}) == 5
    assert registry.get_sample_value("busy", {"server": "other"}) == 1


def test_a_histogram_counts_and_remembers_a_trace_for_each_bucket() -> None:
    histogram = PlainHistogram((0.1, 1.0))
    for value, trace in ((0.05, ""), (0.5, "first"), (0.7, "second"), (5.0, "")):
        histogram.observe(value, trace)
    family = HistogramMetricFamily("took", "How long it took.", labels=["method"])
    histogram.add_to(family, ["Ask"])

    buckets = [sample for sample in family.samples if sample.name == "took_bucket"]
    assert [sample.value for sample in buckets] == [1, 3, 4]
    assert [sample.labels["le"] for sample in buckets] == ["0.1", "1.0", "+Inf"]
    traces = [sample.exemplar and sample.exemplar.labels for sample in buckets]
    assert traces == [None, {"trace_id": "second"}, None]


def test_collections_of_garbage_are_measured_by_generation() -> None:
    registry = CollectorRegistry()
    pauses = GarbagePauses(registry)
    gc.collect(1)
    gc.callbacks.remove(pauses._on_collection)

    count = registry.get_sample_value("python_gc_pause_seconds_count", {"generation": "1"})
    assert count is not None
    assert count >= 1
    assert b"python_gc_pause_seconds_bucket" in generate_latest(registry)
