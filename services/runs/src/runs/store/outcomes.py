"""What the columns of `steps` hold once a piece of work is done."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from runs.domain.steps import StepStatus

if TYPE_CHECKING:
    from runs.domain.generation import Spent
    from runs.domain.prompts import PromptVersion
    from runs.domain.runs import OutputFile


@dataclass(frozen=True, slots=True)
class Outcome:
    """An output, and for llm steps the prompt and what was spent. Without an output, skipped."""

    output: OutputFile | None = None
    spent: Spent | None = None
    prompt: PromptVersion | None = None

    def columns(self) -> dict[str, object]:
        """Return the columns of `steps` that the outcome fills, as JSON can hold them."""
        output, prompt = self.output, self.prompt
        status = StepStatus.SKIPPED if output is None else StepStatus.COMPLETED
        model, rule, usage, cost = _spending(self.spent)
        return {
            "status": status.value,
            "output_path": None if output is None else output.output_path,
            "output_digest": None if output is None else output.output_digest,
            "summary": None if output is None else output.summary,
            "metrics": None if output is None else dict(output.metrics),
            "fractional_metrics": (dict(output.fractional_metrics) or None) if output else None,
            "llm_model": model,
            "model_rule": rule,
            "token_usage": usage,
            "cost_micro_usd": cost,
            "prompt_version": None if prompt is None else prompt.version,
            "prompt_digest": None if prompt is None else prompt.digest,
        }


def spending(spent: Spent | None) -> tuple[object, ...]:
    """Return the values of llm_model, model_rule, token_usage and cost_micro_usd."""
    model, rule, usage, cost = _spending(spent)
    return model, rule, None if usage is None else json.dumps(usage), cost


def _spending(
    spent: Spent | None,
) -> tuple[str | None, str | None, dict[str, int] | None, int]:
    if spent is None:
        return None, None, None, 0
    return spent.llm_model, spent.model_rule, asdict(spent.usage), spent.cost_micro_usd
