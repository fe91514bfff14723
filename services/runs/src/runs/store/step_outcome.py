"""The columns of `steps` that an attempt fills."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from runs.domain.steps import StepStatus

if TYPE_CHECKING:
    from runs.domain.generation import CallUsage
    from runs.domain.transitions import StepOutcome

TYPES = {
    "status": "text",
    "output_path": "text",
    "output_digest": "text",
    "summary": "text",
    "metrics": "jsonb",
    "fractional_metrics": "jsonb",
    "values": "jsonb",
    "llm_model": "text",
    "model_rule": "text",
    "token_usage": "jsonb",
    "cost_micro_usd": "bigint",
    "prompt_version": "int",
    "prompt_digest": "text",
}
"""The columns' types, by name."""


def columns(outcome: StepOutcome) -> dict[str, object]:
    """Return the columns that an outcome fills, as JSON can hold them."""
    output, prompt = outcome.output, outcome.prompt
    status = StepStatus.SKIPPED if output is None else StepStatus.COMPLETED
    model, rule, tokens, cost = _usage_values(outcome.usage)
    return {
        "status": status.value,
        "output_path": None if output is None else output.output_path,
        "output_digest": None if output is None else output.output_digest,
        "summary": None if output is None else output.summary,
        "metrics": None if output is None else dict(output.metrics),
        "fractional_metrics": (dict(output.fractional_metrics) or None) if output else None,
        "values": (dict(output.values) or None) if output else None,
        "llm_model": model,
        "model_rule": rule,
        "token_usage": tokens,
        "cost_micro_usd": cost,
        "prompt_version": None if prompt is None else prompt.version,
        "prompt_digest": None if prompt is None else prompt.digest,
    }


def usage_values(usage: CallUsage | None) -> tuple[object, ...]:
    """Return the values of llm_model, model_rule, token_usage and cost_micro_usd."""
    model, rule, tokens, cost = _usage_values(usage)
    return model, rule, None if tokens is None else json.dumps(tokens), cost


def _usage_values(
    usage: CallUsage | None,
) -> tuple[str | None, str | None, dict[str, int] | None, int]:
    if usage is None:
        return None, None, None, 0
    return usage.llm_model, usage.model_rule, asdict(usage.tokens), usage.cost_micro_usd
