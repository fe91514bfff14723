"""Transitions of runs and steps; those of one run that wait for each other go in one statement.

A run's transitions are made one after another anyway: each locks the run. A map makes thousands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runs.domain.runs import RunStatus
from runs.domain.transitions import Transitions
from runs.metrics import run_ended
from runs.store import journal, step_failures, steps
from runs.worker.activities.next_runs import leave_to_relays
from servicekit.batches import Batcher, Limits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dataplane.tenants import TenantPools
    from runs.domain.activities import RunRef, StepRef
    from runs.domain.failures import StepFailed
    from runs.domain.generation import CallUsage
    from runs.domain.transitions import Advanced, StepAttempt, StepOutcome
    from runs.store.steps import EndedSteps
    from runs.worker.activities.next_runs import StartNext

_LIMITS = Limits(weight=200)


class Journal:
    """Records what happens to runs. Raises what TenantPools raises.

    Whoever asks again after an error may hear that nothing took effect, since it did before.
    """

    def __init__(self, tenants: TenantPools, start_next: StartNext = leave_to_relays) -> None:
        self._tenants = tenants
        self.start_next = start_next
        """Is told of a tenant of which a run has ended or been paused."""
        self._transitions = Batcher(self._advance, _LIMITS)

    async def advance(self, run: RunRef, transitions: Transitions) -> Advanced:
        """Record some transitions of a run at once, with their events; return which took effect."""
        places = [ref for ref, _, _ in transitions.ended]
        places += [ref for ref, _ in transitions.whole]
        places += transitions.begun
        # What completes the run depends on its own transitions only: it is alone in its statement.
        weight = _LIMITS.weight if transitions.completes_run else max(1, len(places))
        advanced = await self._transitions.submit(run, places, transitions, weight)
        if advanced.others_wait:
            self.start_next(run.tenant_id)
        return advanced

    async def begin(self, ref: StepRef) -> StepAttempt | None:
        """Begin an attempt; None if the step is done, or the run is closed for it."""
        return (await self.advance(ref.run, Transitions(begun=(ref,)))).begun[0]

    async def complete(self, ref: StepRef, attempt: StepAttempt, outcome: StepOutcome) -> bool:
        """Record that an attempt has completed.

        Returns False if another attempt has replaced it, or the run is closed.
        """
        return (await self.advance(ref.run, Transitions(ended=((ref, attempt, outcome),)))).ended[0]

    async def complete_at_once(self, ref: StepRef, outcome: StepOutcome) -> bool:
        """Record a short step as begun and completed.

        Returns False if it was done before, or the run is closed for it.
        """
        return (await self.advance(ref.run, Transitions(whole=((ref, outcome),)))).whole[0]

    async def fail(
        self,
        ref: StepRef,
        attempt: StepAttempt,
        failure: StepFailed,
        usage: CallUsage | None,
        *,
        final: bool,
    ) -> None:
        """Record that an attempt failed, and when it was the last (`final`), that the step did."""
        async with self._tenants.connection(ref.tenant_id) as connection:
            await step_failures.insert(connection, ref, attempt, failure, usage, final=final)

    async def ended(self, run: RunRef, refs: Sequence[StepRef]) -> EndedSteps:
        """Return those of some steps that have come to an end."""
        async with self._tenants.connection(run.tenant_id) as connection:
            return await steps.ended(connection, run, refs)

    async def _advance(self, run: RunRef, transitions: list[Transitions]) -> Sequence[Advanced]:
        async with self._tenants.connection(run.tenant_id) as connection:
            advanced = await journal.advance(connection, run, transitions)
        if advanced[0].completed is not None:
            pipeline, took = advanced[0].completed
            run_ended(pipeline, RunStatus.COMPLETED, took)
        return advanced
