"""Beginning and ending mapped steps: those of a chain together."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from runs.domain.activities import MappedList
from runs.domain.element_uses import needs_sizes
from runs.domain.failures import RunClosed, StepFailed, StepImpossible
from runs.domain.lists import Steps
from runs.domain.runs import RunStatus
from runs.domain.transitions import StepOutcome, Transitions
from runs.store import steps
from runs.worker.activities.mapped_lists import find_list, put_manifest
from runs.worker.activities.retries import retry_transient
from runs.worker.activities.run_stops import RunStopping
from runs.worker.activities.walk_state import StepGivenUp, StepRetry, pause
from servicekit.call import on_behalf_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from dataplane.tenants import TenantPools
    from runs.domain.activities import StepRef, Walk
    from runs.domain.transitions import StepAttempt
    from runs.peers.artifacts import Artifacts
    from runs.store.steps import Elements
    from runs.worker.activities.journal import Journal
    from runs.worker.activities.map_failures import MapFailures
    from runs.worker.activities.run_context import RunContext, RunContextCache
    from runs.worker.activities.run_initializer import RunInitializer
    from runs.worker.activities.step_inputs import StepInputFinder
    from runs.worker.activities.step_runner import StepRunner


class MapEnds:
    """Begins and ends the mapped steps of chains."""

    def __init__(
        self,
        tenants: TenantPools,
        contexts: RunContextCache,
        initializer: RunInitializer,
        input_finder: StepInputFinder,
        artifacts: Artifacts,
        runner: StepRunner,
        failures: MapFailures,
        journal: Journal,
    ) -> None:
        self._tenants = tenants
        self._contexts = contexts
        self._initializer = initializer
        self._input_finder = input_finder
        self._artifacts = artifacts
        self._runner = runner
        self._failures = failures
        self._journal = journal

    async def open(self, walk: Walk) -> MappedList:
        """Begin the steps; return how long the list is that all are mapped over.

        Steps that are done, by an earlier workflow of the run, count as skipped: nothing is left.

        Raises StepRetry, StepGivenUp, RunStopping and RunClosed, and ApplicationError for the run's
        input.
        """
        context = await self._initializer.initialize(walk.run)
        first = walk.ref(walk.steps[0])
        spec = context.spec.step(first.step)
        with on_behalf_of(tenant_id=walk.tenant_id, user_id=context.run.user_id):
            attempt = await self._begin(walk, first)
            if attempt is None and await self._all_done(walk):
                return MappedList(skipped=True)
            try:
                inputs = await retry_transient(
                    lambda: self._input_finder.find(context, spec, first)
                )
                if attempt is not None and not inputs.condition_holds():
                    await self._end(walk, {first: (attempt, StepOutcome())})
                    return MappedList(skipped=True)
                found = await retry_transient(lambda: find_list(self._artifacts, inputs))
            except Exception as error:
                if attempt is None:
                    raise
                await self._fail(context, first, attempt, error)
                raise
            others = tuple(walk.ref(step) for step in walk.steps[1:])
            if others:
                await retry_transient(
                    lambda: self._journal.advance(walk.run, Transitions(begun=others))
                )
            await retry_transient(lambda: self._note_sizes(context, walk, found.sizes))
            return MappedList(found.digest, found.count)

    async def close(self, walk: Walk, earlier: int) -> None:
        """End the steps, and the run if nothing else is left of it; each step's output is the list
        of its items' outputs.

        `earlier` is how many attempts at that there were before. Raises as `open` does.
        """
        try:
            context = await self._initializer.initialize(walk.run)
        except RunClosed:
            if walk.completes_run and await self._contexts.is_completed(walk.run):
                return
            raise
        refs = [walk.ref(step) for step in walk.steps]
        with on_behalf_of(tenant_id=walk.tenant_id, user_id=context.run.user_id):
            attempts = await retry_transient(lambda: self._current(refs))
            elements = await retry_transient(lambda: self._elements(attempts))
            # Before any manifest is committed: it is for good, and a retry does what has failed.
            for ref, attempt in attempts.items():
                failure = await self._failures.of_ended(context, ref, elements[ref])
                if failure is not None:
                    await self._fail(context, ref, attempt, failure)
            ends = await asyncio.gather(
                *(
                    self._manifest(context, ref, attempts[ref], elements[ref], earlier)
                    for ref in attempts
                )
            )
            await self._end(walk, dict(zip(attempts, ends, strict=True)))
        if walk.completes_run:
            self._contexts.discard(walk.run)

    async def _begin(self, walk: Walk, ref: StepRef) -> StepAttempt | None:
        """Begin a step; return its attempt, or None if it is done or has failed.

        Raises RunStopping.
        """
        advanced = await retry_transient(
            lambda: self._journal.advance(walk.run, Transitions(begun=(ref,)))
        )
        (attempt,) = advanced.begun
        if attempt is None and advanced.stop is not None:
            raise RunStopping
        return attempt

    async def _all_done(self, walk: Walk) -> bool:
        """Return whether nothing is left of a walk whose first step could not be begun.

        Raises StepGivenUp if that has failed, and RunClosed if the run is over.
        """
        refs = [walk.ref(step) for step in walk.steps]
        ended = await retry_transient(lambda: self._journal.ended(walk.run, refs))
        if refs[0] in ended.failed:
            failure = ended.failed[refs[0]]
            raise StepGivenUp(StepImpossible(failure.reason, failure.message))
        if refs[0] not in ended.done:
            raise RunClosed
        return all(ref in ended.done for ref in refs)

    async def _note_sizes(self, context: RunContext, walk: Walk, sizes: Sequence[int]) -> None:
        """Note how long the lists are for those steps whose elements or failures ask for it."""
        by_name = Steps(context.spec.steps)
        noted = [walk.ref(step) for step in walk.steps if needs_sizes(by_name[step], by_name)]
        if not noted:
            return
        async with self._tenants.connection(walk.tenant_id) as connection:
            await steps.set_list_sizes(connection, noted, sizes)
        for ref in noted:
            self._input_finder.elements.put_sizes(ref, sizes)

    async def _current(self, refs: list[StepRef]) -> dict[StepRef, StepAttempt]:
        """Return the attempts that are being made; a step that is done has none."""
        async with self._tenants.connection(refs[0].tenant_id) as connection:
            found = {ref: await steps.current(connection, ref) for ref in refs}
        return {ref: attempt for ref, attempt in found.items() if attempt is not None}

    async def _elements(self, refs: Collection[StepRef]) -> dict[StepRef, Elements]:
        found: dict[StepRef, Elements] = {}
        for ref in refs:
            async with self._tenants.connection(ref.tenant_id) as connection:
                found[ref] = await steps.elements(connection, ref)
        return found

    async def _manifest(
        self,
        context: RunContext,
        ref: StepRef,
        attempt: StepAttempt,
        elements: Elements,
        earlier: int,
    ) -> tuple[StepAttempt, StepOutcome]:
        try:
            manifest = await retry_transient(lambda: put_manifest(self._artifacts, ref, elements))
        except Exception as error:
            await self._fail(context, ref, replace(attempt, failed_before=earlier), error)
            raise
        return attempt, StepOutcome(manifest)

    async def _end(self, walk: Walk, ends: dict[StepRef, tuple[StepAttempt, StepOutcome]]) -> None:
        transitions = Transitions(
            ended=tuple((ref, attempt, outcome) for ref, (attempt, outcome) in ends.items()),
            completes_run=walk.completes_run,
        )
        if transitions == Transitions():
            return
        advanced = await retry_transient(lambda: self._journal.advance(walk.run, transitions))
        for ref, (_, outcome) in ends.items():
            self._input_finder.put(ref, outcome.output)
        if walk.completes_run and advanced.run_status is RunStatus.COMPLETED:
            return
        if advanced.run_status is None or not advanced.run_status.active:
            raise RunClosed
        if walk.completes_run or not all(advanced.ended):
            replaced = StepFailed("ATTEMPT_REPLACED", "another attempt has taken over")
            raise StepRetry(replaced, 1.0)

    async def _fail(
        self, context: RunContext, ref: StepRef, attempt: StepAttempt, error: Exception
    ) -> None:
        """Record a failed attempt. Raises StepRetry or StepGivenUp."""
        spec = context.spec.step(ref.step)
        failure, final = await self._runner.record_failure(spec, ref, attempt, error)
        if final:
            raise StepGivenUp(failure) from None
        raise StepRetry(failure, pause(spec, failure, attempt.failed_before + 1)) from None
