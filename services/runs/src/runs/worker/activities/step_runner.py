"""Running a step whose attempt has begun, and recording an attempt that failed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from runs.domain.failures import StepImpossible
from runs.domain.pipelines import FunctionStep, LlmStep
from runs.domain.transitions import StepOutcome
from runs.worker.activities.retries import retry_transient
from runs.worker.metrics import step_failed, step_measured

if TYPE_CHECKING:
    from runs.domain.activities import StepRef
    from runs.domain.failures import StepFailed
    from runs.domain.pipelines import StepSpec
    from runs.domain.transitions import StepAttempt
    from runs.worker.activities.buffered_files import OutputFiles
    from runs.worker.activities.error_files import ErrorFiles
    from runs.worker.activities.function import FunctionStepRunner
    from runs.worker.activities.journal import Journal
    from runs.worker.activities.llm import LlmStepRunner
    from runs.worker.activities.run_context import RunContext
    from runs.worker.activities.step_inputs import StepInputFinder

_MOST_LOST = 20
"""Attempts lost, for example with their worker, before a step fails."""


class StepRunner:
    """Runs steps of all kinds."""

    def __init__(
        self,
        input_finder: StepInputFinder,
        llm: LlmStepRunner,
        functions: FunctionStepRunner,
        journal: Journal,
        errors: ErrorFiles,
    ) -> None:
        self._input_finder = input_finder
        self._llm = llm
        self._functions = functions
        self._journal = journal
        self._errors = errors

    async def run(
        self,
        context: RunContext,
        ref: StepRef,
        files: OutputFiles,
        attempt: StepAttempt | None = None,
    ) -> StepOutcome:
        """Run a step or an element of a mapped one; a function's files go to `files`.

        `attempt` is the one that has begun; short steps begin none. Raises StepFailed,
        TimeoutError, what the services refuse, and whatever a function raises.
        """
        if attempt is not None and attempt.lost_before >= _MOST_LOST:
            raise StepImpossible("WORKER_LOST", f"{_MOST_LOST} attempts were lost")
        spec = context.spec.step(ref.step)

        async def once() -> StepOutcome:
            inputs = await self._input_finder.find(context, spec, ref)
            if not (inputs.element_holds() if ref.item else inputs.condition_holds()):
                return StepOutcome()
            if isinstance(spec.kind, LlmStep):
                async with asyncio.timeout(spec.timeout_seconds):
                    call = 1 if attempt is None else attempt.call
                    return await self._llm.run(context, spec, spec.kind, inputs, call)
            if isinstance(spec.kind, FunctionStep):
                return await self._functions.run(spec, spec.kind, inputs, files)
            raise TypeError(f"step {spec.step} is not for this activity")

        with step_measured(spec.kind):
            return await retry_transient(once)

    async def record_failure(
        self, spec: StepSpec, ref: StepRef, attempt: StepAttempt, error: Exception
    ) -> tuple[StepFailed, bool]:
        """Record a failed attempt; return the failure, and whether it was the last attempt."""
        failure = await self._errors.failure(ref, attempt.attempt, error)
        final = failure.final or attempt.failed_before + 1 >= spec.retry.max_attempts
        calls_model = isinstance(spec.kind, LlmStep)
        usage = await self._llm.usage(ref, attempt.call) if final and calls_model else None
        await retry_transient(lambda: self._journal.fail(ref, attempt, failure, usage, final=final))
        step_failed(spec.kind, failure.reason, final=final)
        return failure, final
