"""Two workers: the stack's, which its supervisor starts again, and one of our own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.processes import Process

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncGenerator

    from tests.support.stack import LocalStack

_FREEZE_SECONDS = (11.0, 15.0)
"""A worker that stands still is given up after 10 seconds without a heartbeat."""
_DOWN_SECONDS = (0.0, 3.0)
_PART = "runs-worker"


class Workers:
    """Kills and freezes workers, and the parts that they stand on."""

    def __init__(self, stack: LocalStack, own: Process) -> None:
        self._stack = stack
        self._own = own
        self._busy = asyncio.Lock()
        self.woke: dict[int, float] = {}
        """When a process that had been frozen was woken for the last time, by its id."""

    async def kill(self, chance: random.Random) -> None:
        """Kill one of the two with -9; ours is started again a little later."""
        if chance.random() < 0.5:
            await self.kill_part(_PART)
            return
        async with self._busy:
            await asyncio.to_thread(self._own.kill)
            await asyncio.sleep(chance.uniform(*_DOWN_SECONDS))
            self._own.start()

    async def freeze(self, chance: random.Random) -> None:
        """Let ours stand still until it is given up, and wake it."""
        async with self._busy:
            pid = self._own.pid
            os.kill(pid, signal.SIGSTOP)
            try:
                await asyncio.sleep(chance.uniform(*_FREEZE_SECONDS))
            finally:
                self.woke[pid] = time.time()
                os.kill(pid, signal.SIGCONT)

    async def kill_part(self, name: str) -> None:
        """Kill a part of the stack with -9, as soon as it is up."""
        while not self._kill_part(name):  # noqa: ASYNC110 - its supervisor starts it
            await asyncio.sleep(0.1)

    def _kill_part(self, name: str) -> bool:
        pid = json.loads(self._stack.layout.pids.read_text()).get(name)
        if pid is None:
            return False
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True


@asynccontextmanager
async def running_workers(
    stack: LocalStack, folder: Path, module: str = "runs.worker"
) -> AsyncGenerator[Workers]:
    """Run a second worker for the block, with the settings of the stack's."""
    pid = json.loads(stack.layout.pids.read_text())[_PART]
    variables = (Path("/proc") / str(pid) / "environ").read_text().split("\0")
    settings = dict(variable.split("=", 1) for variable in variables if "=" in variable)
    settings["NAGAYA_METRICS_PORT"] = "0"
    command = [sys.executable, "-m", module]
    own = Process("own-worker", command, folder / "own-worker.log", settings)
    own.start()
    try:
        yield Workers(stack, own)
    finally:
        await asyncio.to_thread(own.stop)
