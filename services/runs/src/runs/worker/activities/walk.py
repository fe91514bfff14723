"""The activities of version 4 of the workflow: they walk chains of steps.

A local activity is for what is over in a few seconds, for Temporal writes little about it. What
lasts longer goes on in this process, and another activity, which sends heartbeats, takes it over.
If that one begins in another process, it goes on with the attempts that had begun, a moment later:
this process hears of it and stops; a model call is joined by its key. What nobody has taken over
soon is cancelled, and at once when its run is.

A run that is to pause lets its activities end what they have begun. They begin nothing more, and
say that they were cancelled once that is reached, for the workflow is.
"""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from temporalio import activity
from temporalio.exceptions import ApplicationError

from runs.domain.activities import Walk, Walked
from runs.domain.failures import RUN_CLOSED, RunClosed, StepImpossible
from runs.domain.node_walks import NodeWalk, NodeWalked, node_walked
from runs.domain.waiting import Waiting, collect_waiting
from runs.worker.activities.admission import TenantShareTaken, retry_later
from runs.worker.activities.cancellation import is_needed_here
from runs.worker.activities.error_interceptor import to_application_error
from runs.worker.activities.run_initializer import input_error
from runs.worker.activities.run_stops import RunStopping
from runs.worker.activities.walk_state import InputRefused, StepGivenUp, StepRetry
from runs.worker.activities.walk_work import Work, note_error
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from runs.worker.activities.admission import WorkerSlots
    from runs.worker.activities.approvals import ApprovalWalker
    from runs.worker.activities.chain_walk import ChainWalker
    from runs.worker.activities.loop_ends import LoopEnds
    from runs.worker.activities.map_ends import MapEnds
    from runs.worker.activities.node_walk import NodeWalker
    from runs.worker.activities.run_stops import RunStops

_LOCAL_SECONDS = 4.0
"""How long a local activity lasts at most. A workflow's task is renewed after 8 s, which adds to
the history each time, and the workflow does not hear of its cancellation before."""

_PAUSING_SECONDS = 6.0
"""How much longer it lasts where its run is to pause: what it hands over might be cancelled before
anybody has taken it over."""

_TAKE_OVER_SECONDS = 10.0
_LOOK_SECONDS = 0.3
"""Between two looks at whether another process has taken over what is left here."""
_ELSEWHERE_SECONDS = 1.0
"""How long the process that has taken over waits for that look."""
_HEARTBEAT_SECONDS = 0.5
"""Temporal reports a cancellation in its response to a heartbeat."""


class WalkActivities:
    """Temporal calls these by the names of the methods."""

    def __init__(
        self,
        chains: ChainWalker,
        maps: MapEnds,
        loops: LoopEnds,
        approvals: ApprovalWalker,
        nodes: NodeWalker,
        slots: WorkerSlots,
        stops: RunStops,
    ) -> None:
        self._chains = chains
        self._maps = maps
        self._loops = loops
        self._approvals = approvals
        self._nodes = nodes
        self._slots = slots
        self._stops = stops
        self._left: dict[tuple[str, str], Work] = {}
        self._looking: set[asyncio.Task[None]] = set()

    @activity.defn
    async def walk(self, walk: Walk) -> Walked:
        """Do some steps one after another, once or for some elements of a list."""

        async def do(work: Work) -> Walked:
            await self._chains.walk(walk, work.signal, work.resumable, work.attempts)
            return Walked()

        return await self._run(walk, do)

    @activity.defn
    async def open_maps(self, walk: Walk) -> Walked:
        """Begin mapped steps; return how long their list is."""

        async def do(work: Work) -> Walked:
            mapped = await self._maps.open(walk)
            return Walked(count=mapped.count, skipped=mapped.skipped)

        return await self._run(walk, do)

    @activity.defn
    async def close_maps(self, walk: Walk) -> Walked:
        """End mapped steps: the output of each is the list of its items' outputs."""
        earlier = activity.info().attempt - activity.info().is_local

        async def do(work: Work) -> Walked:
            await self._maps.close(walk, earlier)
            return Walked()

        return await self._run(walk, do)

    @activity.defn
    async def end_visit(self, walk: Walk) -> Walked:
        """End a visit of a loop; say whether there is another one."""

        async def do(work: Work) -> Walked:
            return Walked(again=await self._loops.end(walk))

        return await self._run(walk, do)

    @activity.defn
    async def walk_approval(self, walk: Walk) -> Walked:
        """Ask a person, or end the step that asked; say whether and how long it waits."""

        async def do(work: Work) -> Walked:
            return await self._approvals.walk(walk)

        return await self._run(walk, do)

    @activity.defn
    async def begin_graph(self, walk: NodeWalk) -> NodeWalked:
        """Begin a run; return the state that its graph begins with."""

        async def do(work: Work) -> NodeWalked:
            return NodeWalked(update=await self._nodes.begin(walk.run))

        return node_walked(await self._run(walk, do))

    @activity.defn
    async def run_node(self, walk: NodeWalk) -> NodeWalked:
        """Run a node of a graph once; return what it returned."""

        async def do(work: Work) -> NodeWalked:
            return await self._nodes.walk(walk, work.resumable, work.attempts)

        return node_walked(await self._run(walk, do))

    async def _run(self, walk: Walk, do: Callable[[Work], Awaitable[Walked]]) -> Walked:
        info = activity.info()
        key = (info.workflow_run_id or "", info.activity_id)
        try:
            if info.is_local:
                return await self._run_briefly(key, self._start(walk, do))
            # Where steps are not short, each element that is being done holds a slot.
            with self._slots.hold(walk.tenant_id) if walk.short else nullcontext():
                work = self._left.pop(key, None)
                if work is None:
                    # An attempt that goes on for a second time may be what its worker has died of.
                    again = any(info.heartbeat_details[:1])
                    if walk.attempts and not again:
                        await asyncio.sleep(_ELSEWHERE_SECONDS)
                    work = self._start(replace(walk, attempts=[]) if again else walk, do)
                return await self._run_with_heartbeats(work)
        except RunClosed:
            closed = StepImpossible(RUN_CLOSED, "the run is over")
            raise to_application_error(closed, final=True) from None
        except StepGivenUp as error:
            raise to_application_error(error.failure, final=True) from None
        except InputRefused as error:
            raise input_error(error.failure) from None
        except StepRetry as retry:
            raise ApplicationError(
                retry.failure.message,
                type=retry.failure.reason,
                next_retry_delay=timedelta(seconds=retry.seconds),
            ) from None
        except TenantShareTaken as taken:
            raise retry_later(taken.seconds) from None

    async def _run_briefly(self, key: tuple[str, str], work: Work) -> Walked:
        """Await some work for a few seconds; then leave it to another activity."""
        try:
            await self._wait(work, _LOCAL_SECONDS)
            if not work.task.done() and work.signal.pauses:
                await self._wait(work, _PAUSING_SECONDS)
            if work.task.done():
                return work.result()
            self._leave(key, work)
            return Walked(more=True, attempts=work.encoded_attempts())
        except StepRetry as retry:
            return Walked(more=True, wait_ms=round(retry.seconds * 1_000))
        except TenantShareTaken:
            return Walked(more=True)

    async def _run_with_heartbeats(self, work: Work) -> Walked:
        while not work.task.done():
            activity.heartbeat(*Waiting(work.position, work.waiting.reason).details())
            await self._wait(work, _HEARTBEAT_SECONDS)
        return work.result()

    async def _wait(self, work: Work, seconds: float) -> None:
        """Wait for the end of some work; cancel it when the activity is, unless its run pauses."""
        try:
            await asyncio.wait({work.task}, timeout=seconds)
        except asyncio.CancelledError:
            if not await self._pauses(work):
                await work.cancel()
                raise

    async def _pauses(self, work: Work) -> bool:
        """Return whether the workflow was cancelled for the run to pause."""
        if activity.is_worker_shutdown():
            return False
        try:
            await self._stops.look(work.signal)
        except DomainError:
            return False  # the database is away: another attempt goes on with what was begun
        return work.signal.pauses

    def _start(self, walk: Walk, do: Callable[[Work], Awaitable[Walked]]) -> Work:
        work = Work.of(walk, self._stops.add(walk.run))

        async def run() -> Walked:
            work.waiting = collect_waiting()
            try:
                return await do(work)
            except RunStopping:
                return Walked(cancelled=True)

        work.task = asyncio.create_task(run())
        work.task.add_done_callback(lambda _: self._stops.remove(work.signal))
        work.signal.cancels(work.task)
        return work

    def _leave(self, key: tuple[str, str], work: Work) -> None:
        self._left[key] = work
        work.task.add_done_callback(note_error)
        looking = asyncio.create_task(self._give_up_unless_taken(key, work))
        self._looking.add(looking)
        looking.add_done_callback(self._looking.discard)

    async def _give_up_unless_taken(self, key: tuple[str, str], work: Work) -> None:
        until = asyncio.get_running_loop().time() + _TAKE_OVER_SECONDS
        while asyncio.get_running_loop().time() < until:
            await asyncio.sleep(_LOOK_SECONDS)
            if self._left.get(key) is not work:
                return
            if not work.task.done() and not await is_needed_here():
                break
        if self._left.get(key) is work:
            del self._left[key]
            work.task.cancel()
