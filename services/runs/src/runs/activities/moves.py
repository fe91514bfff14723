"""The moves of pieces of work, those of one run that wait for each other in one statement.

A run's moves are done one after another anyway: each locks the run. A map makes thousands of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runs.batches import Batches, Limits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dataplane.tenants import TenantPools
    from runs.domain.failures import StepFailed
    from runs.domain.generation import Spent
    from runs.domain.work import RunRef, Work
    from runs.store.moves import Attempt, MoveStore
    from runs.store.outcomes import Outcome

_LIMITS = Limits(weight=200)


class StepMoves:
    """Raises what TenantPools raises."""

    def __init__(self, tenants: TenantPools, store: MoveStore) -> None:
        self._tenants = tenants
        self._store = store
        self._begins = Batches(self._begin, _LIMITS)
        self._completions = Batches(self._complete, _LIMITS)
        self._short = Batches(self._complete_at_once, _LIMITS)

    async def begin(self, work: Work) -> Attempt | None:
        """Begin an attempt; None if the work is done, or the run is closed for it."""
        return await self._begins.ask(work.run, work, work)

    async def complete(self, work: Work, attempt: Attempt, outcome: Outcome) -> bool:
        """Record that an attempt has done its work.

        False if another attempt has taken over, or the run is closed.
        """
        return await self._completions.ask(work.run, attempt.row_id, (work, attempt, outcome))

    async def complete_at_once(self, work: Work, outcome: Outcome) -> bool:
        """Record a short step as begun and done; False if it is done, or the run closed for it."""
        return await self._short.ask(work.run, work, (work, outcome))

    async def fail(
        self,
        work: Work,
        attempt: Attempt,
        failure: StepFailed,
        spent: Spent | None,
        *,
        final: bool,
    ) -> None:
        """Record that an attempt failed, and when it was the last, that the work did."""
        async with self._tenants.connection(work.tenant_id) as connection:
            await self._store.fail(connection, work, attempt, failure, spent, final=final)

    async def _begin(self, run: RunRef, works: list[Work]) -> Sequence[Attempt | None]:
        async with self._tenants.connection(run.tenant_id) as connection:
            return await self._store.begin(connection, works)

    async def _complete(
        self, run: RunRef, ends: list[tuple[Work, Attempt, Outcome]]
    ) -> Sequence[bool]:
        async with self._tenants.connection(run.tenant_id) as connection:
            return await self._store.complete(connection, ends)

    async def _complete_at_once(
        self, run: RunRef, ends: list[tuple[Work, Outcome]]
    ) -> Sequence[bool]:
        async with self._tenants.connection(run.tenant_id) as connection:
            return await self._store.complete_at_once(connection, ends)
