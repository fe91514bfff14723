"""One of two processes of a service, which is restarted, killed and exchanged for another build."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING

from nagaya_local.errors import NotReady
from nagaya_local.machine import processes
from nagaya_local.machine.programs import Command

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

_READY_SECONDS = 90.0
_END_SECONDS = 90.0
_POLL_SECONDS = 0.05
_DOWN_SECONDS = 1.0


class Replica:
    """A process that comes back at the same address."""

    def __init__(
        self,
        name: str,
        command: Command,
        settings: Mapping[str, str],
        log: Path,
        ask: Callable[[], Callable[[], Awaitable[None]]],
    ) -> None:
        """`ask` makes a probe for each new process: it returns once that is ready."""
        self.name = name
        self.log = log
        self.python = command.argv[0]
        """The interpreter, and with it the build, of its next process."""
        self.exit_codes: list[int] = []
        """Of the processes that were asked to end."""
        self._arguments = command.argv[1:]
        self._folder = command.folder
        self._settings = {**command.environment, **settings}
        self._ask = ask
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def ended(self) -> bool:
        """Whether it has ended although nobody asked it to."""
        return self._process is not None and self._process.poll() is not None

    async def start(self) -> None:
        """Start it, and return when it is ready. Raises NotReady."""
        command = Command((self.python, *self._arguments), self._folder, self._settings)
        self._process = processes.spawn(command, self.log)
        until, probe = time.monotonic() + _READY_SECONDS, self._ask()
        while True:
            try:
                return await probe()
            except NotReady as error:
                if self.ended or time.monotonic() > until:
                    said = "\n".join(self.log.read_text().splitlines()[-3:])
                    raise NotReady(f"{error}; the last that it said:\n{said}") from error
                await asyncio.sleep(_POLL_SECONDS)

    async def stop(self) -> None:
        """Ask it to end by SIGTERM, and wait until it has."""
        process = self._process
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            self.exit_codes.append(await asyncio.to_thread(process.wait, _END_SECONDS))
        finally:
            await processes.kill(process)

    async def restart(self) -> None:
        """End it in order, and start another process in its place."""
        await self.stop()
        await self.start()

    async def kill(self) -> None:
        """Kill it with -9, and start another process a moment later, as supervisors do."""
        if self._process is not None:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
        await asyncio.sleep(_DOWN_SECONDS)
        await self.start()
