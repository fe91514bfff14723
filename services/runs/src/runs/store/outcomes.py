"""What the columns of `steps` hold once a piece of work is done."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from runs.domain.steps import StepStatus
from runs.store.events import Progress

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

    def columns(self) -> tuple[object, ...]:
        """Return the values of status, output_path, output_digest, summary, metrics, llm_model,
        model_rule, token_usage, cost_micro_usd, prompt_version and prompt_digest.
        """
        output, prompt = self.output, self.prompt
        status = StepStatus.SKIPPED if output is None else StepStatus.COMPLETED
        return (
            status.value,
            None if output is None else output.output_path,
            None if output is None else output.output_digest,
            None if output is None else output.summary,
            None if output is None else json.dumps(dict(output.metrics)),
            *spending(self.spent),
            None if prompt is None else prompt.version,
            None if prompt is None else prompt.digest,
        )

    def progress(self, current_step: str | None = None) -> Progress:
        """Return what the outcome adds to its run."""
        return progress(self.spent, current_step, completed_steps=1)


def spending(spent: Spent | None) -> tuple[object, ...]:
    """Return the values of llm_model, model_rule, token_usage and cost_micro_usd."""
    if spent is None:
        return (None, None, None, 0)
    usage = json.dumps(asdict(spent.usage))
    return (spent.llm_model, spent.model_rule, usage, spent.cost_micro_usd)


def progress(
    spent: Spent | None, current_step: str | None = None, completed_steps: int = 0
) -> Progress:
    """Return what a piece of work adds to its run."""
    if spent is None:
        return Progress(current_step, completed_steps=completed_steps)
    return Progress(
        current_step,
        input_tokens=spent.usage.input_tokens,
        output_tokens=spent.usage.output_tokens,
        cost_micro_usd=spent.cost_micro_usd,
        completed_steps=completed_steps,
    )
