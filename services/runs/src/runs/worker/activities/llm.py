"""Steps that call a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runs.domain.failures import StepFailed, StepImpossible
from runs.domain.generation import FinishReason, GenerationRequest
from runs.domain.transitions import StepOutcome
from runs.worker.activities.replies import ReplyCommitter
from runs.worker.activities.retries import retry_transient
from runs.worker.rendering import blank_prompt, render
from servicekit.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nagaya_functions import FilePointer
    from runs.domain.activities import StepRef
    from runs.domain.generation import CallUsage, GenerationResult
    from runs.domain.pipelines import LlmStep, StepSpec
    from runs.domain.prompts import PromptVersion
    from runs.domain.runs import OutputFile
    from runs.peers.artifacts import Artifacts
    from runs.peers.llm_gateway import LlmGateway
    from runs.worker.activities.run_context import RunContext, RunContextCache
    from runs.worker.activities.step_inputs import StepInputs


_BLANK = "ERROR_REASON_PROMPT_BLANK"


@dataclass(frozen=True, slots=True)
class NodeReply:
    """The reply to a node's call: where its content is, what it used, and what was asked."""

    output: OutputFile
    usage: CallUsage
    prompt: PromptVersion


class LlmStepRunner:
    """Runs llm steps: renders the prompt, has it answered, commits the answer as the output."""

    def __init__(
        self, contexts: RunContextCache, gateway: LlmGateway, artifacts: Artifacts
    ) -> None:
        self._contexts = contexts
        self._gateway = gateway
        self._artifacts = artifacts
        self._replies = ReplyCommitter(gateway, artifacts)

    async def run(
        self, context: RunContext, spec: StepSpec, step: LlmStep, inputs: StepInputs, call: int
    ) -> StepOutcome:
        """Ask the model and commit its reply's content as the step's output.

        `call` is the call's number. Raises StepFailed, and what the services refuse.
        """
        ref = inputs.ref
        prompt = await self._prompt(context, ref, step)
        values = {binding.variable: inputs.pieces(binding.value) for binding in step.bindings}
        result = await self._generate(context, ref, step, call, (prompt, values))
        output = await self._replies.commit(ref, call, spec, result)
        return StepOutcome(output, result.usage, prompt)

    async def ask(
        self,
        context: RunContext,
        ref: StepRef,
        step: LlmStep,
        call: int,
        values: Mapping[str, Sequence[str | FilePointer]],
    ) -> NodeReply:
        """Make a call of a node's, unless it was made; commit its reply's content beside the step.

        Raises StepFailed, and what the services refuse.
        """
        prompt = await self._prompt(context, ref, step)
        check_variables(prompt, values)
        result = await self._generate(context, ref, step, call, (prompt, values))
        output = await self._replies.commit_call(ref, call, result)
        return NodeReply(output, result.usage, prompt)

    async def _prompt(self, context: RunContext, ref: StepRef, step: LlmStep) -> PromptVersion:
        version = context.run.prompt_versions[ref.step]
        return await self._contexts.prompt(ref.tenant_id, step.prompt or ref.step, version)

    async def _generate(
        self,
        context: RunContext,
        ref: StepRef,
        step: LlmStep,
        call: int,
        asked: tuple[PromptVersion, Mapping[str, Sequence[str | FilePointer]]],
    ) -> GenerationResult:
        prompt, values = asked
        parts = render(prompt.content, values)
        pointers = (part for part in parts if not isinstance(part, str))
        request = GenerationRequest(
            ref=ref,
            parts=parts,
            files=self._artifacts.recent(ref.tenant_id, pointers),
            model=None if context.run.chooses_model(ref.step) else step.model,
            run_model=context.run.step_models.get(ref.step),
            max_output_tokens=step.max_output_tokens,
            output_schema=step.output_schema,
            redo_unknown=step.redo_unknown,
            allow_empty=step.allow_empty,
            call=call,
        )
        try:
            result = await self._gateway.generate(request)
        except Conflict as error:
            if error.reason == _BLANK:
                raise blank_prompt(values) from None
            raise
        _check_complete(ref, result)
        return result

    async def usage(self, ref: StepRef, call: int) -> CallUsage | None:
        """Return what a step's call has used; None if it made none, or the gateway refuses."""
        try:
            return await retry_transient(lambda: self._gateway.get_call_usage(ref, call))
        except StepFailed:
            return None


def check_variables(prompt: PromptVersion, values: Mapping[str, object]) -> None:
    """Raise StepImpossible unless the values are those of a prompt's variables."""
    wanted, given = set(prompt.variables), set(values)
    if wanted != given:
        unbound, unknown = sorted(wanted - given), sorted(given - wanted)
        what = f"needs {unbound[0]}" if unbound else f"has no variable {unknown[0]}"
        message = f"prompt {prompt.prompt} version {prompt.version} {what}"
        raise StepImpossible("PROMPT_UNUSABLE", message)


def _check_complete(ref: StepRef, result: GenerationResult) -> None:
    """Raise StepImpossible for half a reply, or none: later steps would work on with it."""
    element = f" --item {ref.item}" if ref.item else ""
    kept = f"`nagaya call reply {ref.run_id} {ref.step}{element}` shows what there is of it"
    match result.finish_reason:
        case FinishReason.LENGTH:
            raise StepImpossible(
                "REPLY_CUT",
                f"a limit on tokens cut the reply off, {kept}: raise max_output_tokens, unless the "
                "model's context is full, take a model that may say more, or ask for less",
            )
        case FinishReason.REFUSAL:
            raise StepImpossible(
                "REPLY_REFUSED",
                f"the model or its provider declined, {kept}: take a model of another provider, "
                "or change what is asked",
            )
        case FinishReason.UNKNOWN:
            raise StepImpossible(
                "REPLY_INCOMPLETE",
                f"the reply ended in a way that is not known to be complete, {kept}: take another "
                "model, or change what is asked",
            )
        case FinishReason.STOP:
            return
