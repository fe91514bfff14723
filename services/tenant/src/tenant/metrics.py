"""The metrics of tenants, their servers, backups, rollouts and other operations.

What stands in the management database is read by each process: take the maximum over them.
"""

from __future__ import annotations

from prometheus_client import Gauge

from monitoring.readings import ReadGauge

TENANTS = ReadGauge("nagaya_tenants", "Tenants, by state.", ("state",))
OPERATIONS_RUNNING = ReadGauge(
    "nagaya_operations_running", "Operations that have not ended, by kind.", ("kind",)
)
OPERATIONS_STUCK = ReadGauge(
    "nagaya_operations_stuck",
    "Operations that wait because something is away (`stuck_reason`), by kind.",
    ("kind",),
)
OPERATION_AGE = ReadGauge(
    "nagaya_operation_idle_seconds",
    "The longest time since a running operation moved, or was postponed because it is stuck.",
    ("kind",),
)
OPERATIONS_ENDED = ReadGauge(
    "nagaya_operations_ended_last_hour",
    "Operations that ended within the last hour: `done`, `failed` or `cancelled`.",
    ("kind", "state"),
)
BACKUP_SCHEDULES = Gauge(
    "nagaya_backup_schedules", "Active tenants whose backups are made by a schedule."
)
BACKUPS_OVERDUE = Gauge(
    "nagaya_backups_overdue",
    "Tenants with a schedule whose last good backup is older than two of their intervals, or that "
    "have none although one was tried.",
)
BACKUP_AGE = Gauge(
    "nagaya_backup_age_seconds", "The age of the last good backup, where that is oldest."
)
BACKUPS_DAMAGED = Gauge(
    "nagaya_backups_damaged", "Backups that were verified and are not as they were made."
)
ROLLOUT_PAUSED = Gauge(
    "nagaya_rollout_paused", "1 while the latest rollout of migrations is paused by its failures."
)
ROLLOUT_TENANTS = ReadGauge(
    "nagaya_rollout_tenants", "Tenants of the latest rollout, by state.", ("state",)
)
SERVER_TENANTS = ReadGauge(
    "nagaya_database_server_tenants", "Tenants on a database server.", ("server",)
)
SERVER_CONNECTIONS = Gauge(
    "nagaya_database_server_connections",
    "Connections to the databases of a server, of everybody.",
    ["server"],
)
SERVER_MAX_CONNECTIONS = Gauge(
    "nagaya_database_server_max_connections",
    "How many connections the server takes (`max_connections`).",
    ["server"],
)
FINDINGS = Gauge(
    "nagaya_tenant_findings",
    "What belongs to no tenant, or lacks what it should have, and was not repaired, by kind: see "
    "`nagaya tenant doctor --dry-run`.",
    ["kind"],
)
OVERVIEW_READ = Gauge(
    "nagaya_overview_read_timestamp_seconds",
    "When this process last read the numbers about tenants, operations, backups, rollouts and "
    "servers from the management database.",
)
