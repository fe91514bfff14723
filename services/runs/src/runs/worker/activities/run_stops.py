"""Tells walks what their runs are to stop for: one query for all of a tenant's that last.

A walk that is over within half a second costs none. Temporal tells a local activity of its
cancellation only when the workflow's task is renewed, up to 8 s later, and does not tell a pause
from a cancellation.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING

from runs.domain.runs import RunStop
from runs.store import run_steering
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from dataplane.tenants import TenantPools
    from runs.domain.activities import RunRef
    from runs.store.run_steering import RunStopState

_SECONDS = 0.5
"""Between two looks at a tenant's runs."""


class RunStopping(Exception):
    """The run is told to stop: nothing of it begins, and what had begun has come to its end."""


class StopSignal:
    """What a walk's run is to stop for. A pause lets the walk end what it has begun."""

    def __init__(self, run: RunRef) -> None:
        self.run = run
        self.stop: RunStop | None = None
        self.closed = False
        """Whether the run is over, paused, or goes on in another epoch."""
        self._asked = asyncio.Event()
        self._task: asyncio.Task[object] | None = None

    @property
    def asked(self) -> bool:
        """Whether the walk is to begin nothing more."""
        return self._asked.is_set()

    @property
    def pauses(self) -> bool:
        """Whether the walk is to end what it has begun."""
        return self.stop in (RunStop.PAUSE, RunStop.RESUME) and not self.closed

    def cancels(self, task: asyncio.Task[object]) -> None:
        """Have a task cancelled once the run is."""
        self._task = task
        if self.asked and not self.pauses:
            task.cancel()

    def ask(self, stop: RunStop) -> None:
        """Tell the walk what its run is to stop for."""
        if self.stop is not RunStop.CANCEL:
            self.stop = stop
            self._tell()

    def close(self) -> None:
        """Tell the walk that nothing may be done for the run any more."""
        if not self.closed:
            self.closed = True
            self._tell()

    async def wait(self, longest: float) -> None:
        """Wait until the walk is told to stop, for so many seconds at most."""
        try:
            async with asyncio.timeout(longest):
                await self._asked.wait()
        except TimeoutError:
            return

    def _tell(self) -> None:
        self._asked.set()
        if self._task is not None and not self.pauses and not self._task.cancelling():
            self._task.cancel()


class RunStops:
    """Asks the tenants' databases what the runs are to stop for whose walks last."""

    def __init__(self, tenants: TenantPools) -> None:
        self._tenants = tenants
        self._signals: dict[str, set[StopSignal]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, run: RunRef) -> StopSignal:
        """Return what tells of a run's stop, until it is removed."""
        signal = StopSignal(run)
        signals = self._signals.get(run.tenant_id)
        if signals is None:
            signals = self._signals[run.tenant_id] = set()
            # Not in the context of the activity that comes first: others outlive it.
            task = asyncio.create_task(self._poll(run.tenant_id, signals), context=Context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        signals.add(signal)
        return signal

    def remove(self, signal: StopSignal) -> None:
        self._signals.get(signal.run.tenant_id, set()).discard(signal)

    async def look(self, signal: StopSignal) -> None:
        """Tell a walk now. Raises what TenantPools raises."""
        await self._look(signal.run.tenant_id, {signal})

    async def _poll(self, tenant_id: str, signals: set[StopSignal]) -> None:
        while True:
            await asyncio.sleep(_SECONDS)
            if not signals:
                del self._signals[tenant_id]
                return
            try:
                await self._look(tenant_id, {each for each in signals if not each.closed})
            except DomainError:
                continue  # the database is away

    async def _look(self, tenant_id: str, signals: set[StopSignal]) -> None:
        if not signals:
            return
        run_ids = sorted({each.run.run_id for each in signals})
        async with self._tenants.connection(tenant_id) as connection:
            found = await run_steering.find_stops(connection, run_ids)
        for signal in signals:
            _tell(signal, found.get(signal.run.run_id))


def _tell(signal: StopSignal, state: RunStopState | None) -> None:
    if state is None or state.epoch != signal.run.epoch or not state.status.active:
        signal.close()
    elif state.stop is not None:
        signal.ask(state.stop)
