"""Columns of tables, by message type."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nagaya.runs.v1 import run_pb2
from nagaya_client.cli import values

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

    Column = tuple[str, str | Callable[[Message], str]]


def _step_seconds(row: Message) -> str:
    if not isinstance(row, run_pb2.RunStep) or not row.HasField("end_time"):
        return ""
    return f"{values.seconds(row.start_time, row.end_time):.1f}"


def _tokens(row: Message) -> str:
    totals = row.totals if isinstance(row, run_pb2.Run) else row
    tokens = getattr(totals, "input_tokens", 0) + getattr(totals, "output_tokens", 0)
    return f"{tokens:,}"


def _rule(row: Message) -> str:
    return row.model_rule.lower() if isinstance(row, run_pb2.RunStep) else ""


def _reason(row: Message) -> str:
    if not isinstance(row, run_pb2.RunStep):
        return ""
    error = row.error
    return f"{error.reason.lower()}: {error.message}" if error.message else error.reason.lower()


def _step_of(row: Message) -> run_pb2.RunStep:
    return row.step if isinstance(row, run_pb2.StepTimeline) else run_pb2.RunStep()


def _attempts(row: Message) -> str:
    """Return how long each attempt lasted, and what became of those that failed."""
    if not isinstance(row, run_pb2.StepTimeline):
        return ""
    texts: list[str] = []
    for attempt in row.attempts:
        ended = attempt.HasField("end_time")
        took = f"{values.seconds(attempt.start_time, attempt.end_time):.1f} s" if ended else "…"
        texts.append(" ".join(filter(None, [took, attempt.reason.lower()])))
    return ", ".join(texts)


_KEY: tuple[Column, ...] = (
    ("STEP", "key.step"),
    ("ITEM", "key.item"),
    ("CALL", "key.call"),
)

COLUMNS: dict[str, tuple[Column, ...]] = {
    "nagaya.tenant.v1.Tenant": (
        ("TENANT", "tenant_id"),
        ("NAME", "name"),
        ("STATE", "state"),
        ("DATABASE", "database"),
        ("SERVER", "server_id"),
        ("CREATED", "create_time"),
    ),
    "nagaya.tenant.v1.TenantFinding": (
        ("FOUND", "kind"),
        ("NAME", "name"),
        ("DONE", "action"),
        ("WHAT", "description"),
        ("HINT", "hint"),
    ),
    "nagaya.tenant.v1.Operation": (
        ("OPERATION", "operation_id"),
        ("KIND", "kind"),
        ("TENANT", "tenant_id"),
        ("STATE", "state"),
        ("STEP", "step"),
        ("BY", "user_id"),
        ("CREATED", "create_time"),
        ("REASON", "error.reason"),
    ),
    "nagaya.tenant.v1.Backup": (
        ("BACKUP", "backup_id"),
        ("STATE", "state"),
        ("SNAPSHOT", "snapshot_time"),
        ("ROWS", "row_count"),
        ("DUMP", "dump_bytes"),
        ("FILES", "object_count"),
        ("BYTES", "object_bytes"),
        ("NEW", "new_object_bytes"),
        ("VERIFIED", "verification"),
        ("EXPIRES", "expire_time"),
    ),
    "nagaya.tenant.v1.Server": (
        ("SERVER", "server_id"),
        ("STATE", "state"),
        ("HOST", "host"),
        ("PORT", lambda row: str(getattr(row, "port", ""))),
        ("VERSION", "version"),
        ("TENANTS", "tenant_count"),
        ("MOST", "max_tenants"),
        ("CONNECTIONS", "connection_budget"),
    ),
    "nagaya.tenant.v1.EncryptionKey": (
        ("KEY", "key_id"),
        ("ACTIVE", "is_active"),
        ("PRESENT", "is_present"),
        ("SECRETS", "secret_count"),
    ),
    "nagaya.tenant.v1.AuditLog": (
        ("SEQ", "sequence"),
        ("TIME", "create_time"),
        ("USER", "user_id"),
        ("ACTION", "action"),
        ("RESOURCE", "resource_type"),
        ("ID", "resource_id"),
    ),
    "nagaya.tenant.v1.Rollout": (
        ("ROLLOUT", "rollout_id"),
        ("STATE", "state"),
        ("BY", "user_id"),
        ("CREATED", "create_time"),
        ("ENDED", "end_time"),
        ("REASON", "pause_reason"),
    ),
    "nagaya.tenant.v1.RolloutTenant": (
        ("TENANT", "tenant_id"),
        ("WAVE", "wave"),
        ("STATE", "state"),
        ("ENDED", "end_time"),
        ("FAILURE", "failure"),
    ),
    "nagaya.tenant.v1.SchemaStatus": (
        ("TENANT", "tenant_id"),
        ("SERVICE", "service"),
        ("APPLIED", "applied_number"),
        ("PUBLISHED", "published_number"),
        ("AT", "apply_time"),
        ("FAILURE", "failure"),
    ),
    "nagaya.runs.v1.Run": (
        ("RUN", "run_id"),
        ("PIPELINE", "pipeline"),
        ("VERSION", "pipeline_version"),
        ("STATE", "state"),
        ("STEP", "current_step"),
        ("TOKENS", _tokens),
        ("COST", "totals.cost_micro_usd"),
        ("CREATED", "create_time"),
        ("LABELS", "labels"),
    ),
    "nagaya.runs.v1.BulkRunResult": (
        ("RUN", "run.run_id"),
        ("PIPELINE", "run.pipeline"),
        ("STATE", "run.state"),
        ("REFUSED", "refusal.reason"),
        ("WHY", "refusal.message"),
    ),
    "nagaya.runs.v1.RunStep": (
        ("STEP", "step"),
        ("ITEM", "item"),
        ("VISIT", "visit"),
        ("STATE", "state"),
        ("RETRIES", "retry_count"),
        ("REUSED", "reused"),
        ("MODEL", "llm_model"),
        ("RULE", _rule),
        ("TOKENS", _tokens),
        ("COST", "cost_micro_usd"),
        ("SECONDS", _step_seconds),
        ("OUTPUT", "output.summary"),
        ("REASON", _reason),
    ),
    "nagaya.runs.v1.Schedule": (
        ("SCHEDULE", "schedule"),
        ("PIPELINE", "spec.pipeline"),
        ("CRON", "spec.cron"),
        ("EVERY", "spec.every_seconds"),
        ("PAUSED", "paused"),
        ("LAST", "last_time"),
        ("RUN", "last_run_id"),
        ("REASON", "error.reason"),
    ),
    "nagaya.runs.v1.WebhookEndpoint": (
        ("ENDPOINT", "endpoint"),
        ("URL", "spec.url"),
        ("STATE", "state"),
        ("PENDING", "pending_runs"),
        ("FAILING", "failing_runs"),
        ("DEAD", "dead_runs"),
    ),
    "nagaya.runs.v1.WebhookDelivery": (
        ("RUN", "run_id"),
        ("STATE", "state"),
        ("NEXT", "next_sequence"),
        ("ATTEMPTS", "attempts"),
        ("RETRY", "retry_time"),
        ("FAILURE", "failure"),
    ),
    "nagaya.runs.v1.StepTimeline": (
        ("STEP", "step.step"),
        ("ITEM", "step.item"),
        ("VISIT", "step.visit"),
        ("STATE", "step.state"),
        ("BEGAN", "step.start_time"),
        ("SECONDS", lambda row: _step_seconds(_step_of(row))),
        ("ATTEMPTS", _attempts),
        ("MODEL", "step.llm_model"),
        ("TOKENS", lambda row: _tokens(_step_of(row))),
        ("COST", "step.cost_micro_usd"),
    ),
    "nagaya.runs.v1.Approval": (
        ("APPROVAL", "approval_id"),
        ("PIPELINE", "pipeline"),
        ("STATE", "state"),
        ("QUESTION", "question"),
        ("ASKED", "create_time"),
        ("EXPIRES", "expire_time"),
        ("BY", "user_id"),
    ),
    "nagaya.runs.v1.PipelineVersion": (
        ("PIPELINE", "pipeline"),
        ("VERSION", "version"),
        ("PLAN BYTES", "plan_size_bytes"),
        ("DIGEST", "digest"),
        ("CREATED", "create_time"),
    ),
    "nagaya.runs.v1.PromptVersion": (
        ("PROMPT", "step"),
        ("VERSION", "version"),
        ("ACTIVE", "active"),
        ("LABELS", "labels"),
        ("VARIABLES", "variables"),
        ("DIGEST", "digest"),
        ("CREATED", "create_time"),
    ),
    "nagaya.artifacts.v1.Artifact": (
        ("PATH", "path"),
        ("BYTES", "size_bytes"),
        ("SHA256", "digest"),
        ("SUMMARY", "summary"),
    ),
    "nagaya.llm_gateway.v1.Provider": (
        ("PROVIDER", "provider_id"),
        ("NAME", "display_name"),
        ("ACTIVE", "active"),
        ("WIRE FORMAT", "wire_format"),
        ("BASE URL", "api_base_url"),
    ),
    "nagaya.llm_gateway.v1.Model": (
        ("MODEL", "model_id"),
        ("PROVIDER", "provider_id"),
        ("CLASS", "model_class"),
        ("ACTIVE", "active"),
        ("NAME AT PROVIDER", "model_name"),
        ("MAX INPUT", "capabilities.max_input_tokens"),
        ("MAX OUTPUT", "capabilities.max_output_tokens"),
    ),
    "nagaya.llm_gateway.v1.Price": (
        ("MODEL", "model_id"),
        ("FROM", "effective_time"),
        ("MIN INPUT", "min_input_tokens"),
        ("INPUT /M", "input_micro_usd"),
        ("CACHE READ /M", "cache_read_micro_usd"),
        ("CACHE WRITE /M", "cache_write_micro_usd"),
        ("OUTPUT /M", "output_micro_usd"),
    ),
    "nagaya.llm_gateway.v1.StepDefault": (
        ("STEP", "step"),
        ("PROVIDER", "model_class.provider_id"),
        ("CLASS", "model_class.model_class"),
    ),
    "nagaya.llm_gateway.v1.TenantStepOverride": (
        ("STEP", "step"),
        ("PROVIDER", "model_class.provider_id"),
        ("CLASS", "model_class.model_class"),
        ("SET", "update_time"),
    ),
    "nagaya.llm_gateway.v1.Call": (
        ("RUN", "key.run_id"),
        *_KEY,
        ("STATE", "state"),
        ("MODEL", "resolution.model_id"),
        ("RULE", "resolution.rule"),
        ("COST", "cost_micro_usd"),
        ("REPLY", "summary"),
    ),
}


def cell(row: Message, content: str | Callable[[Message], str]) -> str:
    """Return the text of a cell: a field by its path, or what a function makes of the row."""
    return values.value_at(row, content) if isinstance(content, str) else content(row)
