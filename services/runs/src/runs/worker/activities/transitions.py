"""Changes of steps' status; those of one run that wait for each other go in one statement.

A run's changes are made one after another anyway: each locks the run. A map makes thousands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runs.batches import Batcher, Limits
from runs.store import step_transitions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dataplane.tenants import TenantPools
    from runs.domain.activities import RunRef, StepRef
    from runs.domain.failures import StepFailed
    from runs.domain.generation import CallUsage
    from runs.store.step_outcome import StepOutcome
    from runs.store.step_transitions import StepAttempt

_LIMITS = Limits(weight=200)


class StepTransitions:
    """Records attempts at steps. Raises what TenantPools raises."""

    def __init__(self, tenants: TenantPools) -> None:
        self._tenants = tenants
        self._begins = Batcher(self._begin, _LIMITS)
        self._completions = Batcher(self._complete, _LIMITS)
        self._short = Batcher(self._complete_at_once, _LIMITS)

    async def begin(self, ref: StepRef) -> StepAttempt | None:
        """Begin an attempt; None if the step is done, or the run is closed for it."""
        return await self._begins.submit(ref.run, ref, ref)

    async def complete(self, ref: StepRef, attempt: StepAttempt, outcome: StepOutcome) -> bool:
        """Record that an attempt has completed.

        Returns False if another attempt has replaced it, or the run is closed.
        """
        return await self._completions.submit(ref.run, attempt.row_id, (ref, attempt, outcome))

    async def complete_at_once(self, ref: StepRef, outcome: StepOutcome) -> bool:
        """Record a short step as begun and completed.

        Returns False if it was done before, or the run is closed for it.
        """
        return await self._short.submit(ref.run, ref, (ref, outcome))

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
            await step_transitions.fail(connection, ref, attempt, failure, usage, final=final)

    async def _begin(self, run: RunRef, refs: list[StepRef]) -> Sequence[StepAttempt | None]:
        async with self._tenants.connection(run.tenant_id) as connection:
            return await step_transitions.begin(connection, refs)

    async def _complete(
        self, run: RunRef, ends: list[tuple[StepRef, StepAttempt, StepOutcome]]
    ) -> Sequence[bool]:
        async with self._tenants.connection(run.tenant_id) as connection:
            return await step_transitions.complete(connection, ends)

    async def _complete_at_once(
        self, run: RunRef, ends: list[tuple[StepRef, StepOutcome]]
    ) -> Sequence[bool]:
        async with self._tenants.connection(run.tenant_id) as connection:
            return await step_transitions.complete_at_once(connection, ends)
