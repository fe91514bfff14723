"""Walking a chain for all of its elements: so many at once as their tenant may have done.

A chain of steps that are not mapped is walked once, as element 0. Each element that is being done
holds a slot of the worker, as a step of any other run does. An element whose step has failed waits
for its next attempt while others are done; one that has failed for good ends the walk once those
that are being done have come to their end.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from runs.domain.failures import RunClosed
from runs.domain.runs import RunStatus
from runs.worker.activities.admission import TenantShareTaken, worker_stops
from runs.worker.activities.retries import retry_transient
from runs.worker.activities.walk_state import StepRetry, WalkState
from servicekit.call import on_behalf_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from runs.domain.activities import StepRef, Walk
    from runs.domain.moves import StepAttempt
    from runs.worker.activities.admission import WorkerSlots
    from runs.worker.activities.element_walk import ElementWalker
    from runs.worker.activities.journal import Journal
    from runs.worker.activities.run_context import RunContext, RunContextCache
    from runs.worker.activities.run_initializer import RunInitializer
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


class ChainWalker:
    """Walks chains of steps."""

    def __init__(
        self,
        contexts: RunContextCache,
        initializer: RunInitializer,
        input_finder: StepInputFinder,
        journal: Journal,
        elements: ElementWalker,
        slots: WorkerSlots,
    ) -> None:
        self._contexts = contexts
        self._initializer = initializer
        self._input_finder = input_finder
        self._journal = journal
        self._elements = elements
        self._slots = slots
        self._short = defaultdict[str, asyncio.Semaphore](
            lambda: asyncio.Semaphore(_SHORT_OF_TENANT)
        )

    async def walk(
        self,
        walk: Walk,
        resumable: dict[StepRef, StepAttempt],
        attempts: dict[StepRef, StepAttempt],
    ) -> None:
        """Do what is left of a walk.

        `resumable` are the attempts to go on with; `attempts` will hold those that are being made.

        Raises StepRetry for an attempt that is to be made later, TenantShareTaken when the tenant
        is to leave its slots to others, StepGivenUp, InputRefused and RunClosed.
        """
        try:
            context = await retry_transient(lambda: self._contexts.find(walk.run))
        except RunClosed:
            if walk.completes_run and await self._contexts.is_completed(walk.run):
                return
            raise
        with on_behalf_of(tenant_id=walk.tenant_id, user_id=context.run.user_id):
            state = await self._state(walk, context)
            state.attempts, state.resumable = attempts, resumable
            items = deque(item for item in range(walk.first, walk.last + 1) if _left(state, item))
            if not items and walk.completes_run:
                await self._elements.walk(state, walk.first)
            elif state.begins_run:
                await self._walk_while_open(state, items)
            else:
                await self._walk_items(state, items)

    async def _state(self, walk: Walk, context: RunContext) -> WalkState:
        """Find out what is done already; begin the run unless the first step is to do it."""
        pending = context.run.status is RunStatus.PENDING
        if not (pending and walk.begins_run):
            context = await self._initializer.initialize(walk.run)
        state = WalkState(walk, context, begins_run=pending and walk.begins_run)
        if not pending:
            refs = [
                walk.ref(step, item)
                for item in range(walk.first, walk.last + 1)
                for step in walk.steps
            ]
            state.done = await retry_transient(lambda: self._journal.done(walk.run, refs))
            for ref, output in state.done.items():
                self._input_finder.put(ref, output)
        return state

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
        short = state.walk.short
        at_once = _SHORT_ITEMS_AT_ONCE if short else _ITEMS_AT_ONCE
        loop = asyncio.get_running_loop()
        running: dict[asyncio.Task[None], int] = {}
        later: dict[int, tuple[float, StepRetry]] = {}
        try:
            while running or items or later:
                for item in [item for item, (due, _) in later.items() if due <= loop.time()]:
                    del later[item]
                    items.appendleft(item)
                while items and len(running) < at_once and not worker_stops():
                    if not short and not self._slots.has_room(state.walk.tenant_id):
                        break
                    item = items.popleft()
                    running[asyncio.create_task(self._walk_item(state, item, short=short))] = item
                    await asyncio.sleep(0)  # it takes its slot
                if not running:
                    if worker_stops():  # another worker goes on
                        raise TenantShareTaken(0.0)
                    await self._wait(state, items, later)
                    continue
                done, _ = await asyncio.wait(
                    running, timeout=_ROOM_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    item = running.pop(task)
                    try:
                        task.result()
                    except StepRetry as retry:
                        later[item] = (loop.time() + retry.seconds, retry)
                    except TenantShareTaken:
                        items.append(item)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _walk_item(self, state: WalkState, item: int, *, short: bool) -> None:
        async with self._admitted(state.walk.tenant_id, short=short):
            await self._elements.walk(state, item)

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
        await asyncio.sleep(max(0.0, seconds))

    @asynccontextmanager
    async def _admitted(self, tenant_id: str, *, short: bool) -> AsyncGenerator[None]:
        if short:
            async with self._short[tenant_id]:
                yield
            return
        with self._slots.hold(tenant_id):
            yield


def _left(state: WalkState, item: int) -> bool:
    return any(state.walk.ref(step, item) not in state.done for step in state.walk.steps)
