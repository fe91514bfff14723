"""The metrics of runs that API processes and workers have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter, Histogram

from monitoring.labels import BoundedLabel

if TYPE_CHECKING:
    from datetime import timedelta

PIPELINES = BoundedLabel(100)
"""The names of pipelines that a process tells apart."""

_RUN_SECONDS = (0.25, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400, 86400)

RUNS_ENDED = Counter(
    "nagaya_runs_ended",
    "Runs that got their final status: `completed`, `failed` or `cancelled`.",
    ["pipeline", "status"],
)
RUN_SECONDS = Histogram(
    "nagaya_run_duration_seconds",
    "How long runs took from their start to their end, pauses included.",
    ["status"],
    buckets=_RUN_SECONDS,
)


def run_ended(pipeline: str, status: str, duration: timedelta | None) -> None:
    """Count a run that got its final status; `duration` is None where it never began."""
    RUNS_ENDED.labels(PIPELINES.of(pipeline), status).inc()
    if duration is not None:
        RUN_SECONDS.labels(status).observe(duration.total_seconds())
