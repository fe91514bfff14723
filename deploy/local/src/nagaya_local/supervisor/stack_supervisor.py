"""All parts of a stack: started in order, supervised, stopped in order."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from nagaya_local.parts.part import start_order, stop_order
from nagaya_local.supervisor.process_supervisor import ProcessSupervisor
from nagaya_local.supervisor.state import Phase

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from nagaya_local.clone.layout import Layout
    from nagaya_local.parts.part import Part
    from nagaya_local.supervisor.state import StateFile


class StackSupervisor:
    """Runs parts until it is told to stop or one of them cannot start.

    When all are ready for the first time, `finish` does what needs all of them.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        layout: Layout,
        state: StateFile,
        finish: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._start_groups = start_order(parts)
        self._stop_groups = stop_order(parts)
        self._state = state
        self._waiters = ThreadPoolExecutor(max_workers=max(1, len(parts)))
        self._supervisors = {
            part.name: ProcessSupervisor(part, layout, state, self._waiters) for part in parts
        }
        self._finish = finish
        self._stop_requested = asyncio.Event()

    def stop(self) -> None:
        """Let `run` stop every part and return."""
        self._stop_requested.set()

    async def run(self) -> None:
        """Keep the parts running until told to stop; end them all. Raises PartFailed."""
        tasks = self._start()
        ready = asyncio.create_task(self._wait_until_ready())
        stopping = asyncio.create_task(self._stop_requested.wait())
        try:
            await _first_failure({*tasks, ready}, stopping)
        finally:
            await _cancel([*tasks, ready, stopping])
            await self._end()

    def _start(self) -> list[asyncio.Task[None]]:
        one = self._supervisors
        return [
            asyncio.create_task(one[part.name].run([one[need].ready for need in part.needs]))
            for group in self._start_groups
            for part in group
        ]

    async def _wait_until_ready(self) -> None:
        for supervisor in self._supervisors.values():
            await supervisor.ready.wait()
        if self._finish is not None:
            await self._finish()
        self._state.set_phase(Phase.RUNNING)

    async def _end(self) -> None:
        self._state.set_phase(Phase.STOPPING)
        for group in self._stop_groups:
            await asyncio.gather(*(self._supervisors[part.name].stop() for part in group))
        self._waiters.shutdown()


async def _first_failure(tasks: set[asyncio.Task[None]], stopping: asyncio.Task[bool]) -> None:
    """Return when told to stop; raise what one of the tasks raises before."""
    pending = tasks
    while not stopping.done():
        done, _ = await asyncio.wait({*pending, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in done & pending:
            task.result()
        pending = pending - done


async def _cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
