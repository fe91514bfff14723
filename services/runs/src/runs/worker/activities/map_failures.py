"""Elements of mapped steps that fail: how many may, and what becomes of the step when more do."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from runs.domain.failures import StepImpossible
from runs.store import steps

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataplane.tenants import TenantPools
    from runs.domain.activities import StepRef
    from runs.domain.runs import Failure
    from runs.store.steps import Elements
    from runs.worker.activities.element_outputs import ElementOutputs
    from runs.worker.activities.journal import Journal
    from runs.worker.activities.run_context import RunContext

MORE_THAN_ALLOWED = 20
"""How many more elements than allowed may fail before no further one is begun: something is wrong
with all of them, and each may cost."""

_NAMED = 3


class MapFailures:
    """Judges mapped steps by how many of their elements have failed."""

    def __init__(self, tenants: TenantPools, elements: ElementOutputs, journal: Journal) -> None:
        self._tenants = tenants
        self._elements = elements
        self._journal = journal

    async def of_running(self, context: RunContext, ref: StepRef) -> StepImpossible | None:
        """Return why the step of an element that has failed begins no more elements, and record
        that it has failed; None if it goes on.
        """
        allowed = await self._allowed(context, ref)
        async with self._tenants.connection(ref.tenant_id) as connection:
            if await steps.count_failed(connection, ref) <= allowed + MORE_THAN_ALLOWED:
                return None
            failed = await steps.failed_elements(connection, ref)
        failure = _failure(failed, f"{len(failed):,} elements failed, {allowed:,} may")
        whole = replace(ref, item=0)
        async with self._tenants.connection(ref.tenant_id) as connection:
            attempt = await steps.current(connection, whole)
        if attempt is not None:
            await self._journal.fail(whole, attempt, failure, None, final=True)
        return failure

    async def of_ended(
        self, context: RunContext, ref: StepRef, elements: Elements
    ) -> StepImpossible | None:
        """Return why a mapped step fails all of whose elements have ended; None if it does not."""
        failed, allowed = elements.failed, await self._allowed(context, ref)
        if len(failed) <= allowed:
            return None
        what = f"{len(failed):,} of {elements.count:,} elements failed, {allowed:,} may"
        return _failure(failed, what)

    async def _allowed(self, context: RunContext, ref: StepRef) -> int:
        over = context.spec.step(ref.step).map
        if over is None:
            return 0
        if not over.allowed.percent:
            return over.allowed.count
        return over.allowed.of((await self._elements.sizes(replace(ref, item=0))).count)


def _failure(failed: Mapping[int, Failure], what: str) -> StepImpossible:
    """Return the failure of a mapped step: its reason is that of the first element that failed."""
    items = sorted(failed)
    named = "; ".join(f"element {item}: {failed[item].message}" for item in items[:_NAMED])
    failure = StepImpossible(failed[items[0]].reason, f"{what}; {named}")
    failure.error_path = failed[items[0]].error_path
    return failure
