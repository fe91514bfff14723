"""Walking a chain for all of its elements: so many at once as their tenant may have done.

A chain of steps that are not mapped is walked once, as element 0. Each element that is being done
holds a slot of the worker, as a step of any other run does. An element whose step has failed waits
for its next attempt while others are done. One that has failed for good does not keep the others
from being done, unless many more have than may. Where the run is to pause, the walk ends once the
elements that are being done have ended their step, and then nothing waits.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runs.domain.failures import RunClosed
from runs.domain.runs import RunStatus
from runs.worker.activities.admission import TenantShareTaken, worker_stops
from runs.worker.activities.retries import retry_transient
from runs.worker.activities.run_stops import RunStopping
from runs.worker.activities.walk_state import StepGivenUp, StepRetry, WalkState
from servicekit.call import on_behalf_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from runs.domain.activities import StepRef, Walk
    from runs.domain.transitions import StepAttempt
    from runs.worker.activities.admission import WorkerSlots
    from runs.worker.activities.element_walk import ElementWalker
    from runs.worker.activities.journal import Journal
    from runs.worker.activities.map_failures import MapFailures
    from runs.worker.activities.run_context import RunContext, RunContextCache
    from runs.worker.activities.run_initializer import RunInitializer
    from runs.worker.activities.run_stops import StopSignal
    from runs.worker.activities.step_inputs import StepInputFinder

LONGEST_WAIT_SECONDS = 3.0
"""The longest pause before an attempt that is waited for here; Temporal waits without a slot."""

_ITEMS_AT_ONCE = 10
_SHORT_ITEMS_AT_ONCE = 25
_SHORT_OF_TENANT = 50
"""How many elements of chains of short steps a worker does at once for a tenant: each may hold some
MiB."""

_PENDING_SECONDS = 0.5
"""How long steps are done while their run is pending, and seems to wait."""

_ROOM_SECONDS = 0.5
"""How often to look whether the tenant may have more done at once."""


@dataclass(slots=True)
class _Items:
    """The items of a walk: what is left of them."""

    items: deque[int]
    """Those that may begin."""
    running: dict[asyncio.Task[None], int] = field(default_factory=dict[asyncio.Task[None], int])
    later: dict[int, tuple[float, StepRetry]] = field(
        default_factory=dict[int, "tuple[float, StepRetry]"]
    )
    """Those whose step has failed and is to be tried again, and when."""


class ChainWalker:
    """Walks chains of steps."""

    def __init__(
        self,
        contexts: RunContextCache,
        initializer: RunInitializer,
        input_finder: StepInputFinder,
        journal: Journal,
        elements: ElementWalker,
        failures: MapFailures,
        slots: WorkerSlots,
    ) -> None:
        self._contexts = contexts
        self._initializer = initializer
        self._input_finder = input_finder
        self._journal = journal
        self._elements = elements
        self._failures = failures
        self._slots = slots
        self._short = defaultdict[str, asyncio.Semaphore](
            lambda: asyncio.Semaphore(_SHORT_OF_TENANT)
        )

    async def walk(
        self,
        walk: Walk,
        signal: StopSignal,
        resumable: dict[StepRef, StepAttempt],
        attempts: dict[StepRef, StepAttempt],
    ) -> None:
        """Do what is left of a walk.

        `resumable` are the attempts to go on with; `attempts` will hold those that are being made.

        Raises StepRetry for an attempt that is to be made later, TenantShareTaken when the tenant
        is to leave its slots to others, RunStopping, StepGivenUp, InputRefused and RunClosed.
        """
        try:
            context = await retry_transient(lambda: self._contexts.find(walk.run))
        except RunClosed:
            if walk.completes_run and await self._contexts.is_completed(walk.run):
                return
            raise
        with on_behalf_of(tenant_id=walk.tenant_id, user_id=context.run.user_id):
            state = await self._state(walk, context, signal)
            state.attempts, state.resumable = attempts, resumable
            items = deque(item for item in range(walk.first, walk.last + 1) if state.is_left(item))
            if not items and walk.completes_run:
                await self._elements.walk(state, walk.first)
            elif state.begins_run:
                await self._walk_while_open(state, items)
            else:
                await self._walk_items(state, items)

    async def _state(self, walk: Walk, context: RunContext, signal: StopSignal) -> WalkState:
        """Find out what is done already; begin the run unless the first step is to do it."""
        pending = context.run.status is RunStatus.PENDING
        begins_run = pending and walk.begins_run and context.run.fork is None
        if not begins_run:
            context = await self._initializer.initialize(walk.run)
        state = WalkState(walk, context, signal, begins_run=begins_run)
        if not pending or context.run.fork is not None:
            await self._find_ended(state)
        return state

    async def _find_ended(self, state: WalkState) -> None:
        walk, elements = state.walk, self._input_finder.elements
        upstream = await retry_transient(lambda: elements.upstream(state.context, walk))
        refs = [
            walk.ref(step, item)
            for item in (*range(walk.first, walk.last + 1), *([0] if walk.first else []))
            for step in walk.steps
        ]
        refs += dict.fromkeys(ref for before in upstream.values() for ref in before)
        ended = await retry_transient(lambda: self._journal.ended(walk.run, refs))
        state.done, state.failed = ended.done, ended.failed
        state.left_out = {
            ref for ref, before in upstream.items() if not ended.done.keys() >= {*before}
        }
        for ref, output in ended.done.items():
            self._input_finder.put(ref, output)
        given_up = None if walk.first else state.given_up(0)
        if given_up is not None:
            raise given_up

    async def _walk_while_open(self, state: WalkState, items: deque[int]) -> None:
        """Do the items of a run that is pending, and have it begin unless they soon do so.

        Raises RunClosed as soon as that finds out that the run has been cancelled.
        """
        walking = asyncio.create_task(self._walk_items(state, items))
        beginning = asyncio.create_task(self._begin_soon(state))
        try:
            await asyncio.wait({walking, beginning}, return_when=asyncio.FIRST_COMPLETED)
            if not walking.done():
                beginning.result()
            await walking
        finally:
            for task in (walking, beginning):
                task.cancel()
            await asyncio.gather(walking, beginning, return_exceptions=True)

    async def _begin_soon(self, state: WalkState) -> None:
        await asyncio.sleep(_PENDING_SECONDS)
        if state.begins_run:
            await self._initializer.initialize(state.walk.run)

    async def _walk_items(self, state: WalkState, items: deque[int]) -> None:
        work = _Items(items)
        try:
            while work.running or work.items or work.later:
                if state.signal.asked and not work.running:
                    raise RunStopping
                await self._begin_items(state, work)
                if not work.running:
                    if worker_stops():  # another worker goes on
                        raise TenantShareTaken(0.0)
                    await self._wait(state, items, work.later)
                    continue
                done, _ = await asyncio.wait(
                    work.running, timeout=_ROOM_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    await self._end_item(state, work, task)
        finally:
            for task in work.running:
                task.cancel()
            await asyncio.gather(*work.running, return_exceptions=True)

    async def _begin_items(self, state: WalkState, work: _Items) -> None:
        """Begin the items that are due, as many as there is room for."""
        short = state.walk.short
        usual = _SHORT_ITEMS_AT_ONCE if short else _ITEMS_AT_ONCE
        at_once = state.walk.at_once or usual
        now = asyncio.get_running_loop().time()
        for item in [item for item, (due, _) in work.later.items() if due <= now]:
            del work.later[item]
            work.items.appendleft(item)
        while work.items and len(work.running) < at_once and not _begins_nothing(state):
            if not short and not self._slots.has_room(state.walk.tenant_id):
                break
            item = work.items.popleft()
            task = asyncio.create_task(self._walk_item(state, item, short=short))
            work.running[task] = item
            await asyncio.sleep(0)  # it takes its slot

    async def _end_item(self, state: WalkState, work: _Items, task: asyncio.Task[None]) -> None:
        """Note what has become of an item: whether it goes on later. Raises StepGivenUp."""
        item = work.running.pop(task)
        try:
            task.result()
        except StepRetry as retry:
            due = asyncio.get_running_loop().time() + retry.seconds
            work.later[item] = (due, retry)
        except (TenantShareTaken, RunStopping):
            work.items.append(item)
        except StepGivenUp as failed:
            await self._go_on_after(state, failed)

    async def _walk_item(self, state: WalkState, item: int, *, short: bool) -> None:
        async with self._admitted(state.walk.tenant_id, short=short):
            await self._elements.walk(state, item)

    async def _go_on_after(self, state: WalkState, failed: StepGivenUp) -> None:
        """Raise StepGivenUp unless the others are to be done although one has failed for good."""
        ref = failed.ref
        if not state.walk.first or ref is None:
            raise failed
        failure = await retry_transient(lambda: self._failures.of_running(state.context, ref))
        if failure is not None:
            raise StepGivenUp(failure)

    async def _wait(
        self, state: WalkState, items: deque[int], later: dict[int, tuple[float, StepRetry]]
    ) -> None:
        """Wait for the next attempt, unless that takes long, or no slot is free."""
        if items:
            if state.begins_run:  # a run that waits for its first step is running
                state.context = await self._initializer.initialize(state.walk.run)
            with self._slots.hold(state.walk.tenant_id):
                return  # one has become free
        due, retry = min(later.values(), key=lambda each: each[0])
        seconds = due - asyncio.get_running_loop().time()
        if seconds > LONGEST_WAIT_SECONDS:
            raise StepRetry(retry.failure, seconds)
        await state.signal.wait(max(0.0, seconds))

    @asynccontextmanager
    async def _admitted(self, tenant_id: str, *, short: bool) -> AsyncGenerator[None]:
        if short:
            async with self._short[tenant_id]:
                yield
            return
        with self._slots.hold(tenant_id):
            yield


def _begins_nothing(state: WalkState) -> bool:
    return state.signal.asked or worker_stops()
