"""The panels about files, tenants, databases and processes."""

from __future__ import annotations

from deploy.monitoring.panels import Dashboard, Panel, Query, one, quantiles, rare, rate

ARTIFACTS = Dashboard(
    "artifacts",
    "Nagaya: artifacts",
    (
        Panel(
            "Bytes of files",
            "Bps",
            (
                Query(rate("nagaya_artifact_bytes_written_total"), "written"),
                Query(rate("nagaya_artifact_bytes_read_total"), "read"),
            ),
        ),
        one(
            "Files committed",
            "ops",
            rate("nagaya_artifact_files_committed_total", "how"),
            "{{how}}",
        ),
        quantiles(
            "How long the object store takes",
            "nagaya_object_store_request_duration_seconds",
            "operation",
        ),
        one(
            "Requests to the object store",
            "reqps",
            rate("nagaya_object_store_request_duration_seconds_count", "operation", "outcome"),
            "{{operation}} {{outcome}}",
        ),
        one(
            "Small files that are put later",
            "ops",
            rate("nagaya_artifact_puts_postponed_total"),
            "files",
        ),
        one("Orphans removed", "ops", rate("nagaya_artifact_orphans_removed_total"), "objects"),
        one("Damaged files", "ops", rate("nagaya_artifact_files_damaged_total"), "reads"),
    ),
)

TENANTS = Dashboard(
    "tenants",
    "Nagaya: tenants and databases",
    (
        one("Tenants", "short", "max by (state) (nagaya_tenants)", "{{state}}"),
        one(
            "Tenants on each server",
            "short",
            "max by (server) (nagaya_database_server_tenants)",
            "{{server}}",
        ),
        Panel(
            "Connections of our processes",
            "short",
            (
                Query(
                    "sum by (job, server, state) (nagaya_database_connections)",
                    "{{job}} {{server}} {{state}}",
                ),
            ),
        ),
        one(
            "Share of a process's connections that is in use",
            "percentunit",
            'sum by (job, instance, server) (nagaya_database_connections{state="used"})'
            " / sum by (job, instance, server) (nagaya_database_connection_budget)",
            "{{job}} {{instance}} {{server}}",
        ),
        Panel(
            "Work without a connection",
            "ops",
            (
                Query(
                    rare(rate("nagaya_database_connection_refusals_total", "job", "server")),
                    "refused {{job}} {{server}}",
                ),
                Query(
                    rare(rate("nagaya_database_connection_failures_total", "job", "server")),
                    "failed {{job}} {{server}}",
                ),
            ),
            is_rare=True,
        ),
        one(
            "Databases that cannot be reached",
            "short",
            "max by (server) (nagaya_databases_unavailable)",
            "{{server}}",
        ),
        Panel(
            "Connections of database servers",
            "short",
            (
                Query("max by (server) (nagaya_database_server_connections)", "used {{server}}"),
                Query(
                    "max by (server) (nagaya_database_server_max_connections)", "most {{server}}"
                ),
            ),
        ),
        Panel(
            "Operations under way",
            "short",
            (
                Query(
                    rare("max by (kind) (nagaya_operations_running)"),
                    "running {{kind}}",
                ),
                Query(rare("max by (kind) (nagaya_operations_stuck)"), "stuck {{kind}}"),
            ),
            is_rare=True,
        ),
        one(
            "Operations that ended within the last hour",
            "short",
            rare("max by (kind, state) (nagaya_operations_ended_last_hour)"),
            "{{kind}} {{state}}",
            is_rare=True,
        ),
        Panel(
            "Backups",
            "short",
            (
                Query("max(nagaya_backup_schedules)", "schedules"),
                Query("max(nagaya_backups_overdue)", "overdue"),
                Query("max(nagaya_backups_damaged)", "damaged"),
            ),
        ),
        one("Age of the oldest last backup", "s", "max(nagaya_backup_age_seconds)", "age"),
        one(
            "Latest rollout of migrations",
            "short",
            rare("max by (state) (nagaya_rollout_tenants)"),
            "{{state}}",
            is_rare=True,
        ),
        one(
            "What belongs to no tenant, or is missing",
            "short",
            rare("max by (kind) (nagaya_tenant_findings)"),
            "{{kind}}",
            is_rare=True,
        ),
        one(
            "Age of the oldest audit entry that is not chained",
            "s",
            "max by (job) (nagaya_audit_unchained_seconds)",
            "{{job}}",
        ),
        quantiles("How late audit entries are chained", "nagaya_audit_chain_lag_seconds", "job"),
    ),
)

PROCESSES = Dashboard(
    "processes",
    "Nagaya: processes",
    (
        one(
            "Processor time",
            "percentunit",
            "rate(process_cpu_seconds_total[$__rate_interval])",
            "{{job}} {{instance}}",
        ),
        one("Memory", "bytes", "process_resident_memory_bytes", "{{job}} {{instance}}"),
        one("Open files", "short", "process_open_fds", "{{job}} {{instance}}"),
        quantiles("How late the event loop is", "event_loop_lag_seconds", "job"),
        one(
            "Time in which garbage collections stop processes",
            "percentunit",
            rate("python_gc_pause_seconds_sum", "job", "instance"),
            "{{job}} {{instance}}",
        ),
        one(
            "Calls in flight",
            "short",
            "sum by (job, instance) (rpc_server_calls_in_flight)",
            "{{job}} {{instance}}",
        ),
        one(
            "Calls by method",
            "reqps",
            rate("rpc_server_calls_total", "rpc_method"),
            "{{rpc_method}}",
        ),
        one("Log lines lost", "short", "max by (job, instance) (log_lines_dropped)", "{{job}}"),
    ),
)
