"""From rows to the domain: rows of tables, and the copies of them that events hold as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from jsonvalues import parse_object
from runs.domain.forks import fork_from_json
from runs.domain.inputs import run_input
from runs.domain.models import model_choice
from runs.domain.runs import (
    RUN_MODELS_FIRST,
    Failure,
    OutputFile,
    Run,
    RunParameters,
    RunStatus,
    RunStop,
    RunTotals,
)
from runs.domain.steps import RunStep, StepStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jsonvalues import JsonMapping


class Row(Protocol):
    """Values by name; a name that is not there reads as None with `get`."""

    def __getitem__(self, name: str, /) -> Any: ...  # noqa: ANN401 - what a column holds
    def get(self, name: str, /) -> Any: ...  # noqa: ANN401 - the same


def run(row: Row) -> Run:
    return Run(
        run_id=str(row["id"]),
        pipeline=row["pipeline"],
        pipeline_version=row["pipeline_version"],
        status=RunStatus(row["status"]),
        stop=None if (stop := row.get("stop")) is None else RunStop(stop),
        held=row["held"],
        # Not in events older than the column; earlier builds leave it of runs that they end.
        queued=bool(row.get("queued")) and row["status"] in ("pending", "running"),
        current_step=row.get("current_step") or "",
        settings=_settings(row),
        input=_input_file(row),
        totals=RunTotals(
            input_tokens=row["input_tokens"],
            output_tokens=row["output_tokens"],
            cost_micro_usd=row["cost_micro_usd"],
            completed_steps=row["completed_steps"],
            calls_open=bool(row.get("calls_open")),  # not in events that are older than the column
        ),
        error=failure(row),
        stuck_reason=row.get("stuck_reason") or "",
        last_sequence=row["last_seq"],
        user_id=row["user_id"],
        create_time=_known_moment(row["created_at"]),
        start_time=_moment(row.get("started_at")),
        end_time=_moment(row.get("ended_at")),
        schedule=row.get("schedule") or "",
        schedule_time=_moment(row.get("schedule_time")),
        labels=document(row.get("labels")) or {},
        forked_from_run_id=str(row.get("forked_from_run_id") or ""),
    )


def run_parameters(row: Row) -> RunParameters:
    config = document(row["config"])
    models: Mapping[str, Any] = config.get("step_models", {})
    return RunParameters(
        run_id=str(row["id"]),
        status=RunStatus(row["status"]),
        epoch=row["epoch"],
        pipeline=row["pipeline"],
        pipeline_version=row["pipeline_version"],
        user_id=row["user_id"],
        input=run_input(config),
        step_models={step: model_choice(choice) for step, choice in models.items()},
        prompt_versions=document(row["prompt_versions"]),
        input_file=_input_file(row),
        fork=fork_from_json(config["fork"]) if "fork" in config else None,
        run_models_first=bool(config.get(RUN_MODELS_FIRST)),
    )


def run_step(row: Row) -> RunStep:
    usage: Mapping[str, int] = document(row.get("token_usage")) or {}
    return RunStep(
        step=row["step"],
        item=row["item"],
        visit=row["visit"],
        status=StepStatus(row["status"]),
        retry_count=row["retry_count"],
        llm_model=row.get("llm_model") or "",
        model_rule=row.get("model_rule") or "",
        input_tokens=usage.get("input_tokens", 0),
        output_tokens=usage.get("output_tokens", 0),
        cost_micro_usd=row["cost_micro_usd"],
        prompt_version=row.get("prompt_version") or 0,
        prompt_digest=row.get("prompt_digest") or "",
        output=_output(row) if row.get("output_path") else None,
        error=failure(row),
        start_time=_moment(row.get("started_at")),
        end_time=_moment(row.get("completed_at")),
        call=row.get("call") or 1,
        reused=bool(row.get("reused")),
    )


def failure_json(failure: Failure) -> str:
    """Return a failure as the column `error` holds it."""
    return json.dumps(asdict(failure))


def document(value: Any) -> Any:  # noqa: ANN401 - what a jsonb column holds
    """Return the value of a jsonb column, which comes as text from a table."""
    return json.loads(value) if isinstance(value, str) else value


def _settings(row: Row) -> JsonMapping:
    text = row.get("settings_json")
    return parse_object(text) if text else document(row.get("settings")) or {}


def _input_file(row: Row) -> OutputFile | None:
    if not row.get("input_path"):
        return None
    return _file(row, "input_path", "input_digest", "input_summary", "input_metrics")


def _output(row: Row) -> OutputFile:
    columns = ("output_path", "output_digest", "summary", "metrics", "fractional_metrics", "values")
    return _file(row, *columns)


def _file(
    row: Row,
    path: str,
    digest: str,
    summary: str,
    metrics: str,
    fractional: str = "",
    values: str = "",
) -> OutputFile:
    return OutputFile(
        output_path=row[path],
        output_digest=row[digest],
        summary=row.get(summary) or "",
        metrics=document(row.get(metrics)) or {},
        fractional_metrics=(document(row.get(fractional)) or {}) if fractional else {},
        values=(document(row.get(values)) or {}) if values else {},
    )


def failure(row: Row) -> Failure | None:
    """Return the failure in the column `error`."""
    error = document(row.get("error"))
    if error is None:
        return None
    return Failure(
        reason=error.get("reason", ""),
        message=error.get("message", ""),
        step=error.get("step", ""),
        error_path=error.get("error_path", ""),
        item=error.get("item", 0),
        visit=error.get("visit", 1),
    )


def _moment(value: datetime | str | None) -> datetime | None:
    return None if value is None else _known_moment(value)


def _known_moment(value: datetime | str) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)
