"""The calls of its model that a node makes: each has its own key in the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nagaya_functions import FilePointer
from runs.domain.failures import StepImpossible
from runs.domain.generation import CallUsage, TokenUsage
from runs.domain.pipelines import LlmStep
from runs.worker.activities.retries import retry_transient

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runs.domain.activities import StepRef
    from runs.domain.pipelines import StepSpec
    from runs.domain.prompts import PromptVersion
    from runs.domain.transitions import StepAttempt
    from runs.worker.activities.llm import LlmStepRunner
    from runs.worker.activities.run_context import RunContext

MOST_CALLS = 1_000
"""How many calls of its model a node makes at most, each time that it is run."""


class NodeModels:
    """The calls that a node makes in one visit."""

    def __init__(
        self,
        llm: LlmStepRunner,
        context: RunContext,
        spec: StepSpec,
        ref: StepRef,
        attempt: StepAttempt,
    ) -> None:
        self._llm = llm
        self._context = context
        self._spec = spec
        self._ref = ref
        # A retry that asks for new calls has all of the node's calls under other numbers.
        self._before = MOST_CALLS * (attempt.call - 1)
        self._usages: dict[int, CallUsage] = {}
        self.prompt: PromptVersion | None = None

    @property
    def usage(self) -> CallUsage | None:
        """What all calls together have used, and the model of the last one; None without calls."""
        if not self._usages:
            return None
        last = self._usages[max(self._usages)]
        return CallUsage(
            last.llm_model,
            last.model_rule,
            _sum([usage.tokens for usage in self._usages.values()]),
            sum(usage.cost_micro_usd for usage in self._usages.values()),
        )

    async def ask(
        self, call: int, variables: Mapping[str, Sequence[str | FilePointer]]
    ) -> FilePointer:
        """Make a call, or take its reply if it was made; return where the content is.

        Raises StepFailed, and what the services refuse.
        """
        step = self._spec.kind
        if not isinstance(step, LlmStep):
            raise StepImpossible(
                "NODE_WITHOUT_MODEL",
                f"node {self._ref.step} asks a model, and the pipeline names none for it: list the "
                "node in `steps` with `llm`",
            )
        if not 1 <= call <= MOST_CALLS:
            message = f"node {self._ref.step} calls its model more than {MOST_CALLS:,} times"
            raise StepImpossible("TOO_MANY_CALLS", message)
        number = self._before + call
        answer = await retry_transient(
            lambda: self._llm.ask(self._context, self._ref, step, number, variables)
        )
        self._usages[call] = answer.usage
        self.prompt = answer.prompt
        return FilePointer(answer.output.output_path, answer.output.output_digest)


def _sum(tokens: Sequence[TokenUsage]) -> TokenUsage:
    return TokenUsage(
        sum(each.input_tokens for each in tokens),
        sum(each.output_tokens for each in tokens),
        sum(each.cache_read_tokens for each in tokens),
        sum(each.cache_write_tokens for each in tokens),
        sum(each.reasoning_tokens for each in tokens),
    )
