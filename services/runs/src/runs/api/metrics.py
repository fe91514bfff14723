"""The metrics of the API processes."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

from monitoring.readings import ReadGauge
from runs.metrics import PIPELINES

RUNS_CREATED = Counter("nagaya_runs_created", "Runs that were created.", ["pipeline"])
RUNS_OPEN = ReadGauge(
    "nagaya_runs_open",
    "Runs without a final status, of the tenants that this process visited last.",
    ("status",),
)
RUNS_STUCK = ReadGauge(
    "nagaya_runs_stuck",
    "Open runs that do not move, for a reason that they tell themselves (`stuck_reason`).",
)
OUTBOX_MESSAGES = ReadGauge(
    "nagaya_outbox_messages",
    "Messages to Temporal that are not delivered yet, of the tenants that this process visited "
    "last.",
)
OUTBOX_AGE = Gauge(
    "nagaya_outbox_age_seconds",
    "How long the oldest message to Temporal has been waiting that was tried before, in vain.",
)
RUN_WATCHERS = Gauge("nagaya_run_watchers", "Watches of runs that this process serves.")
WEBHOOKS = Counter(
    "nagaya_webhook_deliveries",
    "Events sent to webhook endpoints: `taken`, `refused`, or given up as `dead`.",
    ["outcome"],
)
TEMPORAL_REACHABLE = Gauge(
    "nagaya_temporal_reachable", "1 while Temporal answered the last question of this process."
)
TASK_QUEUE_BACKLOG = ReadGauge(
    "nagaya_task_queue_backlog",
    "Tasks that wait for a worker, as Temporal counts them; `kind` is `workflow` or `activity`.",
    ("task_queue", "kind"),
)
TASK_QUEUE_AGE = ReadGauge(
    "nagaya_task_queue_age_seconds",
    "How long the oldest task has been waiting that waits for a worker.",
    ("task_queue", "kind"),
)
TASK_QUEUE_POLLERS = ReadGauge(
    "nagaya_task_queue_pollers",
    "Workers that asked Temporal for tasks of the queue within the last 90 s.",
    ("task_queue", "kind"),
)


def run_created(pipeline: str) -> None:
    """Count a run that was created."""
    RUNS_CREATED.labels(PIPELINES.of(pipeline)).inc()
