"""Starting the parts of a stack in order, watching them, and stopping them."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from nagaya_local.parts.part import in_order, in_order_of_stopping
from nagaya_local.supervisor.keeper import Keeper
from nagaya_local.supervisor.state import Phase

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from nagaya_local.clone.layout import Layout
    from nagaya_local.parts.part import Part
    from nagaya_local.supervisor.state import Board


class Supervisor:
    """Runs parts until it is told to stop or one of them cannot start.

    When all are ready for the first time, `finish` does what needs all of them.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        layout: Layout,
        board: Board,
        finish: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._waves = in_order(parts)
        self._stages = in_order_of_stopping(parts)
        self._board = board
        self._waiters = ThreadPoolExecutor(max_workers=max(1, len(parts)))
        self._keepers = {part.name: Keeper(part, layout, board, self._waiters) for part in parts}
        self._finish = finish
        self._told_to_stop = asyncio.Event()

    def stop(self) -> None:
        self._told_to_stop.set()

    async def run(self) -> None:
        """Keep the parts alive until told to stop; end them all. Raises PartFailed."""
        tasks = self._start()
        ready = asyncio.create_task(self._announce_readiness())
        stopping = asyncio.create_task(self._told_to_stop.wait())
        try:
            await _first_failure({*tasks, ready}, stopping)
        finally:
            await _cancel([*tasks, ready, stopping])
            await self._end()

    def _start(self) -> list[asyncio.Task[None]]:
        return [
            asyncio.create_task(
                self._keepers[part.name].keep([self._keepers[need].ready for need in part.needs])
            )
            for wave in self._waves
            for part in wave
        ]

    async def _announce_readiness(self) -> None:
        for keeper in self._keepers.values():
            await keeper.ready.wait()
        if self._finish is not None:
            await self._finish()
        self._board.enter(Phase.RUNNING)

    async def _end(self) -> None:
        self._board.enter(Phase.STOPPING)
        for stage in self._stages:
            await asyncio.gather(*(self._keepers[part.name].stop() for part in stage))
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
