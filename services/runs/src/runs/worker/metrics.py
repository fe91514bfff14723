"""The metrics of workers."""

from __future__ import annotations

import time
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram

from monitoring.labels import BoundedLabel
from monitoring.readings import ReadGauge
from servicekit import telemetry

if TYPE_CHECKING:
    from collections.abc import Generator

    from runs.domain.pipelines import StepKind

_REASONS = BoundedLabel(100)
_STEP_SECONDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)

STEP_SECONDS = Histogram(
    "nagaya_step_duration_seconds",
    "How long attempts at steps took, from input to output: by the `kind` of the step and the "
    "`outcome`, `completed`, `failed` or `stopped`.",
    ["kind", "outcome"],
    buckets=_STEP_SECONDS,
)
STEP_FAILURES = Counter(
    "nagaya_step_failures",
    "Attempts at steps that failed, by reason; `final` where no other attempt followed.",
    ["kind", "reason", "final"],
)
ACTIVITY_QUEUE_SECONDS = Histogram(
    "nagaya_activity_queue_seconds",
    "How long activities waited for a worker, from when Temporal had scheduled them.",
    buckets=(0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
SLOTS = Gauge("nagaya_worker_slots", "How many steps this worker does at once.")
SLOTS_USED = Gauge("nagaya_worker_slots_used", "How many steps this worker does now.")
HANDED_BACK = Counter(
    "nagaya_worker_handed_back",
    "Steps given back to Temporal because their tenant held its share, or the worker stopped.",
)
FUNCTION_PROCESSES = ReadGauge(
    "nagaya_function_processes",
    "Processes of functions of this worker: `busy`, `idle`, and how many more may be started "
    "(`free`).",
    ("state",),
)
FUNCTION_FAILURES = Counter(
    "nagaya_function_process_failures",
    "Processes of functions that ended against their will: `died`, `out_of_memory`, `timed_out`, "
    "or did not start (`start_failed`).",
    ["cause"],
)


NODE = "node"
"""The kind of what does a node of a graph."""


def step_failed(kind: StepKind, reason: str, *, final: bool) -> None:
    """Count a failed attempt at a step."""
    STEP_FAILURES.labels(_name(kind), _REASONS.of(reason), str(final).lower()).inc()


@contextmanager
def step_measured(kind: StepKind | str) -> Generator[None]:
    """Measure the attempt at a step that the block makes."""
    begun, outcome = time.perf_counter(), "stopped"
    try:
        yield
        outcome = "completed"
    except Exception:
        outcome = "failed"
        raise
    finally:
        seconds = time.perf_counter() - begun
        _step_seconds(_name(kind), outcome).observe(seconds, telemetry.exemplar())


@cache
def _step_seconds(kind: str, outcome: str) -> Histogram:
    """Return the series of a kind and an outcome, which are few."""
    return STEP_SECONDS.labels(kind, outcome)


def _name(kind: StepKind | str) -> str:
    return kind if isinstance(kind, str) else type(kind).__name__.removesuffix("Step").lower()
