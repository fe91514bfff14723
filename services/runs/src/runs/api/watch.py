"""Watching runs: one query for each watched tenant and process, fanned out to its watchers.

Nothing is pushed by the database: a notification for each event would cost it two thirds of its
writes. Events are numbered without a gap, so a watcher takes an event only if it is the next one,
and whatever interrupts a poll, the next one goes on where it stopped. Runs that have just moved are
polled more often than the others, so that a short run is seen at once and a thousand idle watches
cost no more for it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from runs.api.metrics import RUN_WATCHERS
from runs.domain.events import Heartbeat, RunEvent
from runs.domain.runs import Run
from runs.errors import RunNotFound, SequenceUnknown
from runs.store import events, runs
from servicekit.errors import DatabaseUnavailable, DeadlineExceeded, LimitExceeded, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Set

    from dataplane.tenants import TenantPools

_FAST_SECONDS = 0.1
_SLOW_SECONDS = 0.5
"""Between polls of all runs: at first, and when nothing has moved for a while."""

_MOVING_SECONDS = 0.02
"""Between polls of the runs that moved within the last `_MOVED_SECONDS`."""

_MOVED_SECONDS = 0.3
_SECONDS_A_RUN = 0.004
"""Of many that move, for each: one that is watched alone is seen at once, and many cost no more
polls than a few do."""

_POLL_SHARE = 5
"""How many times as long as a poll takes the pause after it is at least."""

_BATCH = 200
_QUEUED = 400

_STOPPING = "the server is stopping; watch on from the last event"
_TRANSIENT = (Unavailable, LimitExceeded, DeadlineExceeded)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WatchTimeouts:
    """How long a watch waits, in seconds."""

    heartbeat: float = 10.0
    """For an event, before it sends a heartbeat."""
    database: float = 30.0
    """For the tenant's database while it is away, before it gives up."""


class RunWatcher:
    """Watches runs. Watches of one tenant share one query."""

    def __init__(self, tenants: TenantPools, timeouts: WatchTimeouts | None = None) -> None:
        self._tenants = tenants
        self._timeouts = timeouts or WatchTimeouts()
        self._pollers: dict[str, _Poller] = {}
        self._closed = False

    async def watch(
        self, tenant_id: str, run_id: str, after: int
    ) -> AsyncGenerator[RunEvent | Heartbeat]:
        """Yield a run's events from number `after` + 1 on, and end after the last one there is.

        Raises RunNotFound, SequenceUnknown, and Unavailable after `close` and when the tenant's
        database is away for too long.
        """
        async with self._tenants.connection(tenant_id) as connection:
            run = await runs.find(connection, run_id)
        if run is None:
            raise RunNotFound(run_id)
        if after > run.last_sequence:
            raise SequenceUnknown(run_id, after, run.last_sequence)
        end = run.last_sequence if run.status.final else None
        if after == end:
            return
        with self._subscribed(tenant_id, run.run_id, after) as subscription:
            while True:
                part = await subscription.next(self._timeouts.heartbeat)
                yield _with_settings(part, run)
                if not isinstance(part, RunEvent) or part.sequence < run.last_sequence:
                    continue  # a run that was retried had ended before
                if part.last or part.sequence == end:
                    return

    def close(self) -> None:
        """End every watch, also those to come: its watcher is to go on at another replica."""
        self._closed = True
        for poller in self._pollers.values():
            poller.fail(Unavailable(_STOPPING))

    @contextmanager
    def _subscribed(self, tenant_id: str, run_id: str, known: int) -> Generator[_Subscription]:
        if self._closed:
            raise Unavailable(_STOPPING)
        poller = self._pollers.get(tenant_id)
        if poller is None:
            poller = _Poller(tenant_id, self._tenants, self._timeouts.database)
            self._pollers[tenant_id] = poller
        subscription = _Subscription(run_id, known, poller.nudge)
        poller.add(subscription)
        RUN_WATCHERS.inc()
        try:
            yield subscription
        finally:
            RUN_WATCHERS.dec()
            if poller.remove(subscription):
                del self._pollers[tenant_id]


@dataclass(slots=True, eq=False)
class _Subscription:
    """One watcher, and the events that it has not taken yet."""

    run_id: str
    known: int
    """The number of the last event that was queued."""
    nudge: asyncio.Event
    """Set when there is room again."""
    _moved: float = field(default_factory=time.monotonic)
    _queue: deque[RunEvent] = field(default_factory=deque)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _failure: Exception | None = None

    @property
    def full(self) -> bool:
        return len(self._queue) >= _QUEUED

    @property
    def moving(self) -> bool:
        """Whether the watch began, got an event or made room a moment ago."""
        return time.monotonic() - self._moved < _MOVED_SECONDS

    def offer(self, event: RunEvent) -> None:
        """Queue an event if it is the next one and there is room."""
        if event.sequence == self.known + 1 and not self.full:
            self.known = event.sequence
            self._moved = time.monotonic()
            self._queue.append(event)
            self._changed.set()

    def fail(self, failure: Exception) -> None:
        self._failure = failure
        self._changed.set()

    async def next(self, longest: float) -> RunEvent | Heartbeat:
        """Wait for the next event, or send a heartbeat when none comes in time."""
        try:
            async with asyncio.timeout(longest):
                while not self._queue:
                    if self._failure is not None:
                        raise self._failure
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return Heartbeat(self.known)
        if self.full:
            self._moved = time.monotonic()
            self.nudge.set()
        return self._queue.popleft()


class _Poller:
    """Asks one tenant's database for the next events of all runs that are watched."""

    def __init__(self, tenant_id: str, tenants: TenantPools, longest_outage: float) -> None:
        self.nudge = asyncio.Event()
        self._tenant_id = tenant_id
        self._tenants = tenants
        self._longest_outage = longest_outage
        self._subscriptions: set[_Subscription] = set()
        self._last_success = time.monotonic()
        # Not in the context of the call that came first: the others may outlive its deadline.
        self._task = asyncio.create_task(self._poll_forever(), context=Context())

    def add(self, subscription: _Subscription) -> None:
        self._subscriptions.add(subscription)
        self.nudge.set()

    def remove(self, subscription: _Subscription) -> bool:
        """Remove a watcher. With the last one the poller stops, and True is returned."""
        self._subscriptions.discard(subscription)
        if self._subscriptions:
            return False
        self._task.cancel()
        return True

    def fail(self, failure: Exception) -> None:
        """End all watches."""
        for subscription in self._subscriptions:
            subscription.fail(failure)

    async def _poll_forever(self) -> None:
        delay, due = _FAST_SECONDS, 0.0
        while True:
            self.nudge.clear()
            begun = time.monotonic()
            if begun >= due:
                moved = await self._try_to_poll(self._subscriptions)
                delay = _FAST_SECONDS if moved else min(1.5 * delay, _SLOW_SECONDS)
                due = begun + delay
            elif await self._try_to_poll(self._moving()):
                delay = _FAST_SECONDS
                due = min(due, begun + delay)
            await self._pause(begun, due)

    async def _pause(self, begun: float, due: float) -> None:
        """Wait until all runs are due, or those that are moving, or for a nudge."""
        now = time.monotonic()
        if moving := len(self._moving()):
            pause = max(_MOVING_SECONDS, _SECONDS_A_RUN * moving, _POLL_SHARE * (now - begun))
            due = min(due, now + pause)
        try:
            async with asyncio.timeout(due - now):
                await self.nudge.wait()
        except TimeoutError:
            pass

    def _moving(self) -> set[_Subscription]:
        return {each for each in self._subscriptions if each.moving}

    async def _try_to_poll(self, subscriptions: Set[_Subscription]) -> bool:
        try:
            moved = await self._poll(subscriptions)
        except _TRANSIENT:
            away = time.monotonic() - self._last_success
            if away > self._longest_outage:
                _log.warning(
                    "watches are given up",
                    extra={"event": "run_watch.abandoned", "tenant_id": self._tenant_id},
                )
                self.fail(DatabaseUnavailable(f"the database has been away for {away:.0f} s"))
            return False
        except Exception as error:  # each watcher raises it
            self.fail(error)
            return False
        self._last_success = time.monotonic()
        return moved

    async def _poll(self, subscriptions: Set[_Subscription]) -> bool:
        """Fetch and queue the next events of some runs; return whether there were any."""
        sequences: dict[str, int] = {}
        for each in subscriptions:
            if not each.full:
                sequences[each.run_id] = min(sequences.get(each.run_id, each.known), each.known)
        if not sequences:
            return False
        async with self._tenants.connection(self._tenant_id) as connection:
            found = await events.after(connection, sequences, _BATCH)
        watchers: dict[str, list[_Subscription]] = {}
        for each in self._subscriptions:
            watchers.setdefault(each.run_id, []).append(each)
        for event in found:
            for watcher in watchers.get(event.run_id, ()):
                watcher.offer(event)
        return bool(found)


def _with_settings(part: RunEvent | Heartbeat, run: Run) -> RunEvent | Heartbeat:
    """Add to an event of the run what its creator set, which events do not repeat."""
    if isinstance(part, RunEvent) and isinstance(part.subject, Run):
        return replace(part, subject=replace(part.subject, settings=run.settings))
    return part
