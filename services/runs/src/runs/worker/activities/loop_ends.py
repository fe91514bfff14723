"""The end of a visit of a loop: whether there is another one, and what the loop leaves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from nagaya_functions import FilePointer
from runs.domain.conditions import evaluate_condition
from runs.domain.failures import StepFailed, StepImpossible
from runs.domain.outputs import OUTPUT, FileDraft
from runs.worker.activities.retries import retry_transient
from runs.worker.activities.walk_state import StepGivenUp
from servicekit.call import on_behalf_of

if TYPE_CHECKING:
    from runs.domain.activities import StepRef, Walk
    from runs.domain.loops import Loop
    from runs.domain.runs import OutputFile
    from runs.peers.artifacts import Artifacts
    from runs.worker.activities.run_context import RunContext
    from runs.worker.activities.run_initializer import RunInitializer
    from runs.worker.activities.step_inputs import StepInputFinder


class LoopEnds:
    """Ends visits of loops."""

    def __init__(
        self, initializer: RunInitializer, input_finder: StepInputFinder, artifacts: Artifacts
    ) -> None:
        self._initializer = initializer
        self._input_finder = input_finder
        self._artifacts = artifacts

    async def end(self, walk: Walk) -> bool:
        """Return whether another visit begins; when the loop is left, leave each step's output.

        `walk` has the loop's last step. Raises StepGivenUp and RunClosed.
        """
        context = await self._initializer.initialize(walk.run)
        ref = walk.ref(walk.steps[0])
        loop = context.spec.loops[ref.step]
        with on_behalf_of(tenant_id=walk.tenant_id, user_id=context.run.user_id):
            try:
                again = await retry_transient(lambda: self._again(context, loop, ref))
                if not again:
                    await retry_transient(lambda: self._leave_outputs(context, loop, ref))
            except StepFailed as failure:
                raise StepGivenUp(failure) from None
        return again

    async def _again(self, context: RunContext, loop: Loop, ref: StepRef) -> bool:
        repeat = loop.repeat
        facts = await self._input_finder.facts(context, ref, loop.facts)
        if not evaluate_condition(repeat.when, facts):
            return False
        if ref.visit < repeat.max_visits:
            return True
        if repeat.goes_on_at_limit:
            return False
        raise StepImpossible(
            "VISITS_USED_UP",
            f"step {ref.step} asks for another visit after {ref.visit}, the most that its "
            f"`repeat` allows: raise max_visits, or let on_limit go on",
        )

    async def _leave_outputs(self, context: RunContext, loop: Loop, ref: StepRef) -> None:
        """Leave the newest output of each step where that of a step without a loop would be."""
        newest = await self._input_finder.elements.visits.newest(ref.run, loop.body.steps)
        outputs = {step: row.output for step, row in newest.items() if row.output is not None}

        async def leave(step: str, output: OutputFile) -> None:
            source = FilePointer(output.output_path, output.output_digest)
            draft = FileDraft(
                ref.run_id, step, OUTPUT, summary=output.summary, metrics=output.numbers
            )
            await self._artifacts.copy(ref.tenant_id, source, draft)

        await asyncio.gather(*(leave(step, outputs[step]) for step in sorted(outputs)))
