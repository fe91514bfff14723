"""Steps that ask a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runs.activities.patience import patiently
from runs.domain.failures import StepFailed, StepImpossible
from runs.domain.generation import Ending, Question
from runs.domain.metrics import number
from runs.domain.outputs import FileDraft, FilePointer, output_name, parsed
from runs.rendering import blank, render
from runs.store.outcomes import Outcome
from servicekit.errors import Conflict

if TYPE_CHECKING:
    from runs.activities.setups import Setup, Setups
    from runs.activities.sources import Sources
    from runs.domain.generation import Answer, Spent
    from runs.domain.pipelines import LlmStep, StepSpec
    from runs.domain.work import Work
    from runs.peers.artifacts import Artifacts
    from runs.peers.llm_gateway import LlmGateway


_BLANK = "ERROR_REASON_PROMPT_BLANK"


class LlmSteps:
    def __init__(self, setups: Setups, gateway: LlmGateway, artifacts: Artifacts) -> None:
        self._setups = setups
        self._gateway = gateway
        self._artifacts = artifacts

    async def perform(
        self, setup: Setup, spec: StepSpec, step: LlmStep, sources: Sources
    ) -> Outcome:
        """Ask the model and commit its reply's content as the step's output.

        Raises StepFailed, and what the services refuse.
        """
        work = sources.work
        version = setup.run.prompt_versions[work.step]
        prompt = await self._setups.prompt(work.tenant_id, work.step, version)
        values = {binding.variable: sources.pieces(binding.value) for binding in step.bindings}
        question = Question(
            work=work,
            parts=render(prompt.content, values),
            model=step.model,
            run_model=setup.run.step_models.get(work.step),
            max_output_tokens=step.max_output_tokens,
            output_schema=step.output_schema,
            redo_unknown=step.redo_unknown,
            allow_empty=step.allow_empty,
        )
        try:
            answer = await self._gateway.ask(question)
        except Conflict as error:
            if error.reason == _BLANK:
                raise blank(values) from None
            raise
        _check_whole(answer)
        draft = FileDraft(
            run_id=work.run_id,
            step=work.step,
            name=output_name(work.item, work.visit),
            item=work.item,
            visit=work.visit,
            metrics=await self._metrics(spec, work, answer),
        )
        output = await self._artifacts.copy(work.tenant_id, answer.reply, draft)
        return Outcome(output, answer.spent, prompt)

    async def spent(self, work: Work) -> Spent | None:
        """Return what a piece of work has spent; None when the gateway does not tell."""
        try:
            return await patiently(lambda: self._gateway.spent(work))
        except StepFailed:
            return None

    async def _metrics(self, spec: StepSpec, work: Work, answer: Answer) -> dict[str, float]:
        metrics: dict[str, float] = {
            "input_tokens": answer.spent.usage.input_tokens,
            "output_tokens": answer.spent.usage.output_tokens,
        }
        if spec.metrics:
            reply = answer.reply
            pointers = [
                FilePointer(reply.path, reply.digest, reply.json_pointer + pointer)
                for pointer in spec.metrics.values()
            ]
            found = await self._artifacts.read(work.tenant_id, pointers)
            for name, data in zip(spec.metrics, found, strict=True):
                try:
                    metrics[name] = number(parsed(data), name)
                except KeyError:
                    raise StepImpossible(
                        "METRIC_NOT_A_NUMBER", f"the output holds no number for {name}"
                    ) from None
        return metrics


def _check_whole(answer: Answer) -> None:
    """Raise StepImpossible for half a reply, or none: later steps would work on with it."""
    kept = f"what there is of it is kept in {answer.reply.path}"
    match answer.ending:
        case Ending.CUT:
            raise StepImpossible(
                "REPLY_CUT",
                f"a limit on tokens cut the reply off, {kept}: raise max_output_tokens, unless the "
                "model's context is full, take a model that may say more, or ask for less",
            )
        case Ending.REFUSED:
            raise StepImpossible(
                "REPLY_REFUSED",
                f"the model or its provider declined, {kept}: take a model of another provider, "
                "or change what is asked",
            )
        case Ending.UNKNOWN:
            raise StepImpossible(
                "REPLY_INCOMPLETE",
                f"the reply ended in a way that is not known to be complete, {kept}: take another "
                "model, or change what is asked",
            )
        case Ending.DONE:
            return
