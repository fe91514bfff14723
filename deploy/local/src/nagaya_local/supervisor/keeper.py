"""Keeping one part alive."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from nagaya_local.errors import (
    LocalError,
    NoSignOfLife,
    NotReady,
    PartFailed,
    PartUnreachable,
)
from nagaya_local.machine import files, processes
from nagaya_local.machine.processes import Incarnation
from nagaya_local.parts.part import External
from nagaya_local.supervisor.silence import Silence
from nagaya_local.supervisor.state import PartState

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence
    from concurrent.futures import Executor

    from nagaya_local.clone.layout import Layout
    from nagaya_local.parts.part import Part
    from nagaya_local.supervisor.state import Board

_POLL_SECONDS = 0.1
_LOOK_SECONDS, _LOOK_AGAIN_SECONDS = 10.0, 1.0
_FIRST_BACKOFF, _LONGEST_BACKOFF = 0.2, 10.0
_CALM_SECONDS = 10.0
# The second try tells a port that was taken for a moment from a program that cannot run.
_TRIES = 2
_LOG_LINES = 15


class _Hangs(Exception):
    """The part's process lives and says nothing; the text says for how long."""

    def __init__(self, process: subprocess.Popen[bytes], text: str) -> None:
        super().__init__(text)
        self.process = process


class Keeper:
    """Starts a part, waits until it is ready, and starts it again whenever it dies or hangs."""

    def __init__(self, part: Part, layout: Layout, board: Board, waiters: Executor) -> None:
        self._part = part
        self._mark = {processes.MARKER: str(layout.root)}
        self._log = layout.log(part.name)
        self._logged = files.size(self._log)
        self._board = board
        self._waiters = waiters
        self._process: subprocess.Popen[bytes] | None = None
        self._began = 0.0
        self._restarts = 0
        self._restart_reason = ""
        self.ready = asyncio.Event()

    async def keep(self, needs: Sequence[asyncio.Event]) -> None:
        """Keep the part alive until cancelled. Raises PartFailed if it never becomes ready."""
        for need in needs:
            await need.wait()
        backoff = _FIRST_BACKOFF
        while True:
            ended = await self._live()
            self._restarts += 1
            if not self.ready.is_set() and self._restarts == _TRIES:
                raise self._failed(ended)
            if time.monotonic() - self._began > _CALM_SECONDS:
                backoff = _FIRST_BACKOFF
            self._restart_reason = ended
            self._show(PartState.RESTARTING, ended)
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, _LONGEST_BACKOFF)

    async def stop(self) -> None:
        """End the part's process, if it has one."""
        if self._process is not None:
            stopping = self._part.program.stopping
            if self._part.finishes and self._process.returncode is None:
                told = f"it finishes {self._part.finishes}, {stopping.seconds:.0f} s at most"
                self._show(PartState.STOPPING, told)
            await processes.stop(self._process, stopping)
        if self._board.part(self._part.name).state is not PartState.FAILED:
            self._show(PartState.STOPPED)

    async def _live(self) -> str:
        """Run the part once; returns how its process ended, or that it was killed and why."""
        ended = await self._start()
        try:
            if await self._until_ready(ended):
                await self._look_after(ended)
        except _Hangs as hanging:
            await processes.kill(hanging.process)
            return str(hanging)
        return processes.describe_exit(await ended)

    async def _start(self) -> asyncio.Future[int]:
        """Start the process; returns what its exit status will be."""
        self._show(PartState.PREPARING)
        try:
            await self._part.program.prepare()
            command = self._part.program.command()
        except LocalError as error:
            raise self._failed(error.message, error.remedy) from error
        self._began = time.monotonic()
        loop = asyncio.get_running_loop()
        if command is None:
            self._show(PartState.STARTING)
            return loop.create_future()  # somebody else's: its end is not ours to see
        marked = replace(command, environment=dict(command.environment) | self._mark)
        self._process = processes.spawn(marked, self._log)
        self._show(PartState.STARTING)
        return loop.run_in_executor(self._waiters, self._process.wait)

    async def _until_ready(self, ended: asyncio.Future[int]) -> bool:
        """Wait for readiness; False if the process ended before. Raises PartFailed and _Hangs."""
        silence = Silence()
        while lack := await self._lack():
            await asyncio.wait({ended}, timeout=_POLL_SECONDS)
            if ended.done():
                return False
            self._give_up_after_all(lack)
            self._check(lack, silence, self._part.ready_seconds)
        self._show(PartState.READY, ready_after=time.monotonic() - self._began)
        self.ready.set()
        return True

    async def _look_after(self, ended: asyncio.Future[int]) -> None:
        """Show whether the part still answers, until its process ends. Raises _Hangs."""
        silence = Silence()
        pause = calm = min(_LOOK_SECONDS, self._part.silent_seconds)
        while not (await asyncio.wait({ended}, timeout=pause))[0]:
            lack = await self._lack()
            self._check(lack, silence, self._part.silent_seconds)
            self._show(PartState.UNREADY if lack else PartState.READY, str(lack or ""))
            pause = _LOOK_AGAIN_SECONDS if lack else calm

    async def _lack(self) -> NotReady | None:
        """Ask the part what it lacks; None when it is ready."""
        try:
            await self._part.program.probe()
        except NotReady as lack:
            return lack
        return None

    def _check(self, lack: NotReady | None, silence: Silence, most: float) -> None:
        """Raises _Hangs when the part has been silent for `most` seconds, if it is ours to end."""
        if not isinstance(lack, NoSignOfLife):
            silence.end()
        elif (seconds := silence.go_on()) >= most and self._process is not None:
            raise _Hangs(self._process, f"gave no sign of life for {seconds:.0f} s: {lack}")

    def _give_up_after_all(self, lack: NotReady) -> None:
        if time.monotonic() - self._began < self._part.ready_seconds:
            return
        if not self.ready.is_set():
            raise self._failed(f"not ready after {self._part.ready_seconds:.0f} s: {lack}")
        self._show(PartState.UNREADY, str(lack))

    def _failed(self, message: str, remedy: str = "") -> PartFailed:
        self._show(PartState.FAILED, message)
        helps = remedy or self._part.remedy or f"Read {self._log}."
        tail = files.tail(self._log, _LOG_LINES, self._logged)
        kind = PartUnreachable if isinstance(self._part.program, External) else PartFailed
        return kind(f"{self._part.name}: {message}", helps, tail)

    def _show(self, state: PartState, detail: str = "", ready_after: float | None = None) -> None:
        before = self._board.part(self._part.name)
        alive = self._process is not None and self._process.returncode is None
        now = replace(
            before,
            state=state,
            detail=detail,
            process=Incarnation.of(self._process.pid) if self._process and alive else None,
            restarts=self._restarts,
            restart_reason=self._restart_reason,
            ready_after=before.ready_after if ready_after is None else round(ready_after, 2),
        )
        if now != before:
            self._board.show(now)
