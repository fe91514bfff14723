"""Changes of steps' status; those of one run that wait for each other go in one statement.

A run's changes are made one after another anyway: each locks the run. A map makes thousands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from runs.batches import Batcher, Limits
from runs.store import step_transitions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from dataplane.pools import Connection
    from dataplane.tenants import TenantPools
    from runs.domain.activities import RunRef, StepRef
    from runs.domain.failures import StepFailed
    from runs.domain.generation import CallUsage
    from runs.store.step_outcome import StepOutcome
    from runs.store.step_transitions import StepAttempt

I = TypeVar("I")  # noqa: E741 - an item
R = TypeVar("R")

_LIMITS = Limits(weight=200)


class StepTransitions:
    """Records attempts at steps. Raises what TenantPools raises."""

    def __init__(self, tenants: TenantPools) -> None:
        self._tenants = tenants
        self._begins = Batcher(self._connected(step_transitions.begin), _LIMITS)
        self._completions = Batcher(self._connected(step_transitions.complete), _LIMITS)
        self._short = Batcher(self._connected(step_transitions.complete_at_once), _LIMITS)

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

    def _connected(
        self, statement: Callable[[Connection, list[I]], Awaitable[Sequence[R]]]
    ) -> Callable[[RunRef, list[I]], Awaitable[Sequence[R]]]:
        async def execute(run: RunRef, items: list[I]) -> Sequence[R]:
            async with self._tenants.connection(run.tenant_id) as connection:
                return await statement(connection, items)

        return execute
