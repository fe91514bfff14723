"""Metrics keep their fraction."""

from __future__ import annotations

from runs.domain.metrics import Metrics


def test_who_knows_only_whole_numbers_gets_them_rounded() -> None:
    metrics = Metrics.of({"a": 7, "b": 7.6, "c": 1e30, "d": -(2**63)})

    assert metrics.whole == {"a": 7, "b": 8, "d": -(2**63)}
    assert metrics.fractional == {"b": 7.6, "c": 1e30}
