"""Walking a chain for one element: its steps one after another.

Between two steps there is one statement: it ends the first and begins the second. Short steps are
recorded once they are done, and the files of those that follow each other are committed together.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from runs.domain.failures import RunClosed, StepFailed
from runs.domain.pipelines import FunctionStep
from runs.domain.runs import Failure, RunStatus
from runs.domain.transitions import Transitions
from runs.worker.activities.admission import TenantShareTaken, worker_stops
from runs.worker.activities.buffered_files import BufferedFiles, BufferVoid
from runs.worker.activities.output_values import with_committed_values
from runs.worker.activities.retries import retry_transient
from runs.worker.activities.run_stops import RunStopping
from runs.worker.activities.walk_state import (
    ElementState,
    InputRefused,
    StepGivenUp,
    StepRetry,
    pause,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runs.domain.activities import RunRef, StepRef
    from runs.domain.pipelines import StepSpec
    from runs.domain.transitions import Advanced, StepAttempt
    from runs.peers.artifacts import Artifacts
    from runs.worker.activities.admission import WorkerSlots
    from runs.worker.activities.journal import Journal
    from runs.worker.activities.run_context import RunContextCache
    from runs.worker.activities.run_initializer import RunInitializer
    from runs.worker.activities.step_inputs import StepInputFinder
    from runs.worker.activities.step_runner import StepRunner
    from runs.worker.activities.walk_state import WalkState

_REPLACED_SECONDS = 5.0
"""So long that Temporal decides whether the activity whose attempt was replaced goes on."""


class ElementWalker:
    """Does the steps of chains for one element each."""

    def __init__(
        self,
        contexts: RunContextCache,
        initializer: RunInitializer,
        input_finder: StepInputFinder,
        artifacts: Artifacts,
        runner: StepRunner,
        journal: Journal,
        slots: WorkerSlots,
    ) -> None:
        self._contexts = contexts
        self._initializer = initializer
        self._input_finder = input_finder
        self._artifacts = artifacts
        self._runner = runner
        self._journal = journal
        self._slots = slots

    async def walk(self, state: WalkState, item: int) -> None:
        """Do what is left of the steps for an element.

        Raises StepRetry, StepGivenUp, TenantShareTaken between two steps when the tenant is to
        leave its slot to others or the worker stops, RunStopping between two steps, and RunClosed.
        """
        element = ElementState(
            item, BufferedFiles(self._artifacts), asyncio.get_running_loop().time()
        )
        if state.begins_run:
            await self._give_input(state, element)
        while (ref := state.next(element)) is not None:
            if state.signal.asked:
                await self._rest(state, element)
            spec = state.context.spec.step(ref.step)
            if isinstance(spec.kind, FunctionStep) and spec.kind.short:
                await self._run_short(state, element, spec, ref)
            else:
                await self._run(state, element, spec, ref)
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise asyncio.CancelledError  # in spite of which the step has ended well
            if state.next(element) is None:
                await self._commit(state, element)
        given_up = state.given_up(item)
        completes_run = state.walk.completes_run and given_up is None
        await self._record(state, element, completes_run=completes_run)
        if given_up is not None:  # by another process
            raise given_up

    async def _rest(self, state: WalkState, element: ElementState) -> None:
        """Record what is done, and raise RunStopping."""
        if await self._commit(state, element):
            await self._record(state, element)
        raise RunStopping

    async def _give_input(self, state: WalkState, element: ElementState) -> None:
        """Write the input, with which the run begins."""
        spec = state.context.spec.step(state.walk.steps[0])
        short = isinstance(spec.kind, FunctionStep) and spec.kind.short
        files = element.files if short else self._artifacts
        element.input = await self._initializer.commit_input(
            state.walk.run, state.context.run, files
        )
        state.set_input(element.input)

    async def _run_short(
        self, state: WalkState, element: ElementState, spec: StepSpec, ref: StepRef
    ) -> None:
        """Do a step that may run twice without harm; it is recorded later."""
        asks = spec.when or (spec.map is not None and spec.map.when)
        if asks and not await self._commit(state, element):  # which tells the metrics
            return
        try:
            files = self._artifacts if element.cautious else element.files
            outcome = await self._runner.run(state.context, ref, files)
        except BufferVoid:
            await self._commit(state, element)
            return
        except Exception as error:
            if not await self._commit(state, element):
                return
            attempt = await self._record(state, element, begun=ref)
            if attempt is not None:
                await self._fail(state, spec, ref, attempt, error)
            return
        element.whole.append((ref, outcome))
        self._input_finder.put(ref, outcome.output)
        if element.is_due(asyncio.get_running_loop().time()) and await self._commit(state, element):
            await self._record(state, element)

    async def _run(
        self, state: WalkState, element: ElementState, spec: StepSpec, ref: StepRef
    ) -> None:
        """Do a step, each attempt of which is recorded when it begins."""
        if not await self._commit(state, element):
            return
        attempt = state.resumable.pop(ref, None)
        if attempt is None:
            if element.ended and (
                worker_stops() or self._slots.exceeds_share(state.walk.tenant_id)
            ):
                await self._record(state, element)
                raise TenantShareTaken(0.0)
            attempt = await self._record(state, element, begun=ref)
            if attempt is None:
                return
        state.attempts[ref] = attempt
        try:
            outcome = await self._runner.run(state.context, ref, self._artifacts, attempt)
        except Exception as error:
            await self._fail(state, spec, ref, attempt, error)
            return
        element.ended.append((ref, attempt, outcome))
        self._input_finder.put(ref, outcome.output)

    async def _fail(
        self, state: WalkState, spec: StepSpec, ref: StepRef, attempt: StepAttempt, error: Exception
    ) -> None:
        """Record a failed attempt. Raises StepRetry or StepGivenUp."""
        failure, final = await self._runner.record_failure(spec, ref, attempt, error)
        state.attempts.pop(ref, None)
        if final:
            state.failed[ref] = Failure(failure.reason, failure.message)
            raise StepGivenUp(failure, ref)
        raise StepRetry(failure, pause(spec, failure, attempt.failed_before + 1))

    async def _commit(self, state: WalkState, element: ElementState) -> bool:
        """Commit the files of short steps.

        Returns False if one is not committed as it was: an earlier attempt has committed another
        one. What was computed from ours is dropped, to be computed from that. Raises StepRetry or
        StepGivenUp for a file that is refused, and InputRefused.
        """
        files = element.files
        await files.commit(state.walk.tenant_id)
        if element.input is not None:
            if element.input.output_path in files.refused:
                raise InputRefused(files.refused[element.input.output_path][1])
            element.input = files.committed.get(element.input.output_path, element.input)
            state.set_input(element.input)
        others = element.whole
        spec_of = state.context.spec.step
        kept = element.whole = await with_committed_values(
            self._artifacts, files, spec_of, element.valid()
        )
        for ref, outcome in kept:
            self._input_finder.put(ref, outcome.output)
        refusals = {draft.step: failure for draft, failure in files.refused.values()}
        element.cautious = element.cautious or bool(files.replaced)
        for unused in (files.replaced, files.refused, files.dropped):
            unused.clear()
        if len(kept) == len(others):
            return True
        ref = others[len(kept)][0]
        if ref.step in refusals:
            attempt = await self._record(state, element, begun=ref)
            if attempt is not None:
                spec = state.context.spec.step(ref.step)
                await self._fail(state, spec, ref, attempt, refusals[ref.step])
        return False

    async def _record(
        self,
        state: WalkState,
        element: ElementState,
        *,
        begun: StepRef | None = None,
        completes_run: bool = False,
    ) -> StepAttempt | None:
        """Record what has been done, and what comes next; return the attempt that has begun.

        None if the step to be begun is done. Raises RunClosed and RunStopping.
        """
        run = state.walk.run
        transitions = Transitions(
            input=element.input,
            ended=tuple(element.ended),
            whole=tuple(element.whole),
            begun=() if begun is None else (begun,),
            completes_run=completes_run,
        )
        if transitions == Transitions():
            return None
        advanced = await retry_transient(lambda: self._journal.advance(run, transitions))
        if transitions.input is not None and advanced.run_status is not None:
            self._note_beginning(state, advanced.run_status)
        state.done |= {ref: outcome.output for ref, _, outcome in transitions.ended}
        state.done |= {ref: outcome.output for ref, outcome in transitions.whole}
        for ref, _, _ in transitions.ended:
            state.attempts.pop(ref, None)
        element.clear(asyncio.get_running_loop().time())
        if others := _without_effect(transitions, advanced):
            await self._take(state, others, advanced)
        if completes_run:
            if advanced.run_status is not RunStatus.COMPLETED:
                await self._complete(run)
            self._contexts.discard(run)
        return advanced.begun[0] if transitions.begun else None

    def _note_beginning(self, state: WalkState, status: RunStatus) -> None:
        state.begins_run = False
        state.context = replace(state.context, run=replace(state.context.run, status=status))
        self._contexts.put(state.walk.run, state.context)

    async def _complete(self, run: RunRef) -> None:
        """Complete the run, all of whose steps are done."""
        transitions = Transitions(completes_run=True)
        advanced = await retry_transient(lambda: self._journal.advance(run, transitions))
        if advanced.run_status is not RunStatus.COMPLETED:
            raise RunClosed

    async def _take(self, state: WalkState, refs: Sequence[StepRef], advanced: Advanced) -> None:
        """Take what others have done of some steps. Raises RunClosed, RunStopping and StepRetry."""
        found = await retry_transient(lambda: self._journal.ended(state.walk.run, refs))
        state.failed |= found.failed
        for ref in refs:
            if ref in found.done:
                state.done[ref] = found.done[ref]
                self._input_finder.put(ref, found.done[ref])
            elif ref in found.failed:
                continue
            elif (status := advanced.run_status) is None or not status.active:
                raise RunClosed
            elif advanced.stop is not None:
                state.signal.ask(advanced.stop)
                raise RunStopping
            else:
                replaced = StepFailed("ATTEMPT_REPLACED", "another attempt has taken over")
                raise StepRetry(replaced, _REPLACED_SECONDS)


def _without_effect(asked: Transitions, advanced: Advanced) -> list[StepRef]:
    """Return the steps that others have done or replaced, or that come too late."""
    ended = (
        ref for (ref, _, _), taken in zip(asked.ended, advanced.ended, strict=True) if not taken
    )
    whole = (ref for (ref, _), taken in zip(asked.whole, advanced.whole, strict=True) if not taken)
    begun = (ref for ref, found in zip(asked.begun, advanced.begun, strict=True) if found is None)
    return [*ended, *whole, *begun]
