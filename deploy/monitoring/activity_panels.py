"""The panels about calls, runs and models."""

from __future__ import annotations

from deploy.monitoring.panels import Dashboard, Panel, Query, one, quantile, quantiles, rare, rate

_UNARY = '{rpc_method!~".*Watch.*|.*Stream.*|.*Download.*|.*Upload.*"}'

OVERVIEW = Dashboard(
    "overview",
    "Nagaya: overview",
    (
        one(
            "Processes that can be scraped",
            "short",
            'sum by (job) (up{job=~"nagaya-.*"})',
            "{{job}}",
        ),
        one("Processes that are ready", "short", "sum by (job) (nagaya_ready)", "{{job}}"),
        one(
            "Calls",
            "reqps",
            rate("rpc_server_calls_total", "rpc_response_status_code"),
            "{{rpc_response_status_code}}",
        ),
        Panel(
            "Calls that ended by our fault",
            "percentunit",
            (
                Query("nagaya:call_faults:ratio_rate5m", "5 minutes"),
                Query("nagaya:call_faults:ratio_rate1h", "1 hour"),
            ),
            "The objective is at most 0.1 % over 30 days.",
        ),
        quantiles("How long calls take", "rpc_server_call_duration_seconds", selector=_UNARY),
        one(
            "CreateRun calls longer than half a second",
            "percentunit",
            "nagaya:create_run_slow:ratio_rate5m",
            "5 minutes",
            "The objective is at most 1 %.",
        ),
        Panel(
            "Runs",
            "ops",
            (
                Query(rate("nagaya_runs_created_total"), "created"),
                Query(rate("nagaya_runs_ended_total", "status"), "{{status}}"),
            ),
        ),
        one("Open runs", "short", "sum by (status) (nagaya_runs_open)", "{{status}}"),
        one(
            "Cost of models",
            "currencyUSD",
            f"3600 * {rate('nagaya_llm_cost_micro_usd_total')} / 1e6",
            "US dollars an hour",
        ),
        one(
            "Alerts that fire",
            "short",
            rare('count by (alertname) (ALERTS{alertstate="firing"})'),
            "{{alertname}}",
            is_rare=True,
        ),
    ),
)

RUNS = Dashboard(
    "runs",
    "Nagaya: runs",
    (
        one("Runs created", "ops", rate("nagaya_runs_created_total", "pipeline"), "{{pipeline}}"),
        one(
            "Runs ended",
            "ops",
            rate("nagaya_runs_ended_total", "pipeline", "status"),
            "{{pipeline}} {{status}}",
        ),
        quantiles("How long runs take", "nagaya_run_duration_seconds", "status"),
        one("Open runs", "short", "sum by (status) (nagaya_runs_open)", "{{status}}"),
        one("Runs that do not move", "short", "sum(nagaya_runs_stuck)", "stuck"),
        Panel(
            "Outbox",
            "short",
            (
                Query("sum(nagaya_outbox_messages)", "messages"),
                Query("max(nagaya_outbox_age_seconds)", "age of the oldest that failed, in s"),
            ),
        ),
        quantiles("How long steps take", "nagaya_step_duration_seconds", "kind"),
        one(
            "Steps",
            "ops",
            rate("nagaya_step_duration_seconds_count", "kind", "outcome"),
            "{{kind}} {{outcome}}",
        ),
        one(
            "Failed attempts at steps",
            "ops",
            rare(rate("nagaya_step_failures_total", "kind", "reason")),
            "{{kind}} {{reason}}",
            is_rare=True,
        ),
        one(
            "Age of the oldest task that waits",
            "s",
            "max by (task_queue, kind) (nagaya_task_queue_age_seconds)",
            "{{task_queue}} {{kind}}",
        ),
        one(
            "Tasks that wait",
            "short",
            "max by (task_queue, kind) (nagaya_task_queue_backlog)",
            "{{task_queue}} {{kind}}",
        ),
        one(
            "Workers that ask for tasks",
            "short",
            "max by (task_queue, kind) (nagaya_task_queue_pollers)",
            "{{task_queue}} {{kind}}",
        ),
        quantiles("How long activities waited for a worker", "nagaya_activity_queue_seconds"),
        Panel(
            "Slots of workers",
            "short",
            (
                Query("nagaya_worker_slots_used", "used {{instance}}"),
                Query("nagaya_worker_slots", "all {{instance}}"),
            ),
        ),
        one(
            "Steps handed back: their tenant holds its share",
            "ops",
            rate("nagaya_worker_handed_back_total"),
            "steps",
        ),
        one(
            "Processes of functions",
            "short",
            "sum by (state) (nagaya_function_processes)",
            "{{state}}",
        ),
        one(
            "Processes of functions that ended against their will",
            "ops",
            rare(rate("nagaya_function_process_failures_total", "cause")),
            "{{cause}}",
            is_rare=True,
        ),
        quantiles(
            "How late background work is taken up",
            "nagaya_pending_work_lag_seconds",
            "table",
            "kind",
        ),
        one(
            "Visits for background work",
            "ops",
            rate("nagaya_pending_work_handled_total", "table", "kind", "outcome"),
            "{{table}} {{kind}} {{outcome}}",
        ),
        one("Watches of runs", "short", "sum(nagaya_run_watchers)", "watches"),
        one(
            "Events sent to webhooks",
            "ops",
            rare(rate("nagaya_webhook_deliveries_total", "outcome")),
            "{{outcome}}",
            is_rare=True,
        ),
    ),
)

_MODEL = ("gen_ai_provider_name", "gen_ai_request_model")
_MODEL_LEGEND = "{{gen_ai_provider_name}} {{gen_ai_request_model}}"
GATEWAY = Dashboard(
    "gateway",
    "Nagaya: models and cost",
    (
        one(
            "Requests to providers",
            "reqps",
            rate(
                "gen_ai_client_operation_duration_seconds_count",
                "gen_ai_provider_name",
                "error_type",
            ),
            "{{gen_ai_provider_name}} {{error_type}}",
        ),
        one(
            "Calls",
            "ops",
            rate("nagaya_llm_calls_total", "provider", "model", "outcome"),
            "{{provider}} {{model}} {{outcome}}",
        ),
        quantiles("How long requests take", "gen_ai_client_operation_duration_seconds", *_MODEL),
        quantiles(
            "Time to the first text",
            "gen_ai_client_operation_time_to_first_chunk_seconds",
            *_MODEL,
        ),
        one(
            "Tokens",
            "short",
            rate("nagaya_llm_tokens_total", "provider", "type"),
            "{{provider}} {{type}}",
        ),
        one(
            "Tokens of a request, p95",
            "short",
            quantile(0.95, "gen_ai_client_token_usage", *_MODEL, "gen_ai_token_type"),
            f"{_MODEL_LEGEND} {{{{gen_ai_token_type}}}}",
        ),
        one(
            "Cost",
            "currencyUSD",
            f"3600 * {rate('nagaya_llm_cost_micro_usd_total', 'provider', 'model')} / 1e6",
            "{{provider}} {{model}}",
            "US dollars an hour. What is billed is the ledger.",
        ),
        Panel(
            "Requests that were sent again",
            "ops",
            (
                Query(rare(rate("nagaya_llm_retries_total", "provider")), "again {{provider}}"),
                Query(
                    rare(rate("nagaya_llm_retries_denied_total", "provider")), "denied {{provider}}"
                ),
            ),
            is_rare=True,
        ),
        one(
            "Retry budget",
            "short",
            "min by (provider) (nagaya_llm_retry_budget)",
            "{{provider}}",
            "Below 1 nothing is sent again: this is the circuit breaker.",
        ),
        one(
            "Calls in doubt",
            "ops",
            rare(rate("nagaya_llm_unknown_attempts_total", "cause")),
            "{{cause}}",
            is_rare=True,
        ),
        one(
            "Calls in flight",
            "short",
            "sum by (instance) (nagaya_llm_calls_in_flight)",
            "{{instance}}",
        ),
        one(
            "Calls answered from the ledger",
            "ops",
            rate("nagaya_llm_calls_replayed_total"),
            "calls",
        ),
        one(
            "Leases that could not be renewed",
            "ops",
            rate("nagaya_llm_lease_renewal_failures_total"),
            "renewals",
        ),
    ),
)
