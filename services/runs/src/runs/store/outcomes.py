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


def spending(spent: Spent | None) -> tuple[object, ...]:
    """Return the values of llm_model, model_rule, token_usage and cost_micro_usd."""
    if spent is None:
        return (None, None, None, 0)
    usage = json.dumps(asdict(spent.usage))
    return (spent.llm_model, spent.model_rule, usage, spent.cost_micro_usd)
