"""The metrics that every process has."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from monitoring.readings import ReadGauge

LOOP_LAG = Histogram(
    "event_loop_lag_seconds",
    "How late the event loop runs what is due.",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1),
)
LOG_DROPPED = Gauge("log_lines_dropped", "Log lines lost because standard error was too slow.")
READY = Gauge("nagaya_ready", "1 while the process does its work, 0 while it waits or stops.")
CERTIFICATE_EXPIRY = Gauge(
    "nagaya_tls_certificate_expiry_timestamp_seconds",
    "When the certificate expires with which the process serves; 0 where it serves plaintext.",
)

DATABASE_CONNECTIONS = ReadGauge(
    "nagaya_database_connections",
    "Connections of this process to a database server: `used` and `idle` ones, and the `waiting` "
    "that wait for one.",
    ("server", "state"),
)
DATABASE_BUDGET = ReadGauge(
    "nagaya_database_connection_budget",
    "How many connections this process may hold open to a database server.",
    ("server",),
)
DATABASE_REFUSALS = Counter(
    "nagaya_database_connection_refusals",
    "Work that was refused because no connection became free within 5 s.",
    ["server"],
)
DATABASE_FAILURES = Counter(
    "nagaya_database_connection_failures",
    "Connections to databases that could not be opened.",
    ["server"],
)
DATABASES_AWAY = ReadGauge(
    "nagaya_databases_unavailable",
    "Databases that this process has failed to reach within the last three minutes, and has not "
    "reached since.",
    ("server",),
)

PENDING_WORK_LAG = Histogram(
    "nagaya_pending_work_lag_seconds",
    "How late a tenant's background work was taken up.",
    ["table", "kind"],
    buckets=(0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800),
)
PENDING_WORK_POLLED = Gauge(
    "nagaya_pending_work_polled_timestamp_seconds",
    "When this process last looked for tenants with background work that is due. Now, while it "
    "need not look again yet, or, for a lease at most, while all its places are taken.",
    ["table", "kind"],
)
PENDING_WORK_HANDLED = Counter(
    "nagaya_pending_work_handled",
    "Visits to tenants for background work: `done`, `postponed` because something was away, or "
    "`failed` by a defect.",
    ["table", "kind", "outcome"],
)

AUDIT_CHAINED = Counter(
    "nagaya_audit_entries_chained", "Audit entries that this process has moved into their chain."
)
AUDIT_LAG = Histogram(
    "nagaya_audit_chain_lag_seconds",
    "How long the oldest entry of a pass had waited to be chained.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600),
)
AUDIT_UNCHAINED = Gauge(
    "nagaya_audit_unchained_entries", "Audit entries that the last passes have left over."
)
AUDIT_OLDEST = Gauge(
    "nagaya_audit_unchained_seconds",
    "At most how old an entry of this process is that has not been chained.",
)
