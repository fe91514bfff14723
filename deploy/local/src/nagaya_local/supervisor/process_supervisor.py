"""One part of the stack: its start, its probes, its restarts, its end."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from nagaya_local.errors import (
    LocalError,
    NotReady,
    PartFailed,
    PartUnreachable,
    Unresponsive,
)
from nagaya_local.machine import files, processes
from nagaya_local.machine.processes import ProcessId
from nagaya_local.parts.part import External
from nagaya_local.supervisor.hang_timer import HangTimer
from nagaya_local.supervisor.state import PartState

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence
    from concurrent.futures import Executor

    from nagaya_local.clone.layout import Layout
    from nagaya_local.parts.part import Part
    from nagaya_local.supervisor.state import StateFile

_START_POLL_SECONDS = 0.1
_POLL_SECONDS, _UNREADY_POLL_SECONDS = 10.0, 1.0
_FIRST_BACKOFF, _MAX_BACKOFF = 0.2, 10.0
_STABLE_SECONDS = 10.0
# The second try tells a port that was taken for a moment from a program that cannot run.
_TRIES = 2
_LOG_LINES = 15


class _PartHung(Exception):
    """The part's process lives but does not respond; the text says for how long."""

    def __init__(self, process: subprocess.Popen[bytes], text: str) -> None:
        super().__init__(text)
        self.process = process


class ProcessSupervisor:
    """Starts a part, waits until it is ready, and starts it again whenever it dies or hangs."""

    def __init__(self, part: Part, layout: Layout, state: StateFile, waiters: Executor) -> None:
        self._part = part
        self._marker = {processes.MARKER: str(layout.root)}
        self._log = layout.log(part.name)
        self._logged = files.size(self._log)
        self._state = state
        self._waiters = waiters
        self._process: subprocess.Popen[bytes] | None = None
        self._began = 0.0
        self._restarts = 0
        self._restart_reason = ""
        self.ready = asyncio.Event()

    async def run(self, needs: Sequence[asyncio.Event]) -> None:
        """Keep the part running until cancelled. Raises PartFailed if it never becomes ready."""
        for need in needs:
            await need.wait()
        backoff = _FIRST_BACKOFF
        while True:
            reason = await self._run_once()
            self._restarts += 1
            if not self.ready.is_set() and self._restarts == _TRIES:
                raise self._failed(reason)
            if time.monotonic() - self._began > _STABLE_SECONDS:
                backoff = _FIRST_BACKOFF
            self._restart_reason = reason
            self._set_state(PartState.RESTARTING, reason)
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, _MAX_BACKOFF)

    async def stop(self) -> None:
        """End the part's process, if it has one."""
        if self._process is not None:
            stopping = self._part.program.stopping
            if self._part.finishes and self._process.returncode is None:
                detail = f"it finishes {self._part.finishes}, {stopping.seconds:.0f} s at most"
                self._set_state(PartState.STOPPING, detail)
            await processes.stop(self._process, stopping)
        if self._state.part(self._part.name).state is not PartState.FAILED:
            self._set_state(PartState.STOPPED)

    async def _run_once(self) -> str:
        """Run the process once; return how it ended, or that it was killed and why."""
        exited = await self._start()
        try:
            if await self._wait_until_ready(exited):
                await self._watch(exited)
        except _PartHung as hung:
            await processes.kill(hung.process)
            return str(hung)
        return processes.describe_exit(await exited)

    async def _start(self) -> asyncio.Future[int]:
        """Start the process; return the future of its exit status."""
        self._set_state(PartState.PREPARING)
        try:
            await self._part.program.prepare()
            command = self._part.program.command()
        except LocalError as error:
            raise self._failed(error.message, error.remedy) from error
        self._began = time.monotonic()
        loop = asyncio.get_running_loop()
        if command is None:
            self._set_state(PartState.STARTING)
            return loop.create_future()  # an external part's end is not seen from here
        marked = replace(command, environment=dict(command.environment) | self._marker)
        self._process = processes.spawn(marked, self._log)
        self._set_state(PartState.STARTING)
        return loop.run_in_executor(self._waiters, self._process.wait)

    async def _wait_until_ready(self, exited: asyncio.Future[int]) -> bool:
        """Return False if the process ended before. Raises PartFailed and _PartHung."""
        timer = HangTimer()
        while failure := await self._probe():
            await asyncio.wait({exited}, timeout=_START_POLL_SECONDS)
            if exited.done():
                return False
            self._check_start_timeout(failure)
            self._check_responsive(failure, timer, self._part.ready_seconds)
        self._set_state(PartState.READY, ready_after=time.monotonic() - self._began)
        self.ready.set()
        return True

    async def _watch(self, exited: asyncio.Future[int]) -> None:
        """Record whether the part still responds, until its process ends. Raises _PartHung."""
        timer = HangTimer()
        pause = poll_seconds = min(_POLL_SECONDS, self._part.hang_seconds)
        while not (await asyncio.wait({exited}, timeout=pause))[0]:
            failure = await self._probe()
            self._check_responsive(failure, timer, self._part.hang_seconds)
            self._set_state(PartState.UNREADY if failure else PartState.READY, str(failure or ""))
            pause = _UNREADY_POLL_SECONDS if failure else poll_seconds

    async def _probe(self) -> NotReady | None:
        """Return why the part is not ready; None when it is."""
        try:
            await self._part.program.probe()
        except NotReady as failure:
            return failure
        return None

    def _check_responsive(self, failure: NotReady | None, timer: HangTimer, most: float) -> None:
        """Raises _PartHung after `most` seconds without response of a process of ours."""
        if not isinstance(failure, Unresponsive):
            timer.reset()
        elif (seconds := timer.add_failure()) >= most and self._process is not None:
            raise _PartHung(self._process, f"gave no sign of life for {seconds:.0f} s: {failure}")

    def _check_start_timeout(self, failure: NotReady) -> None:
        if time.monotonic() - self._began < self._part.ready_seconds:
            return
        if not self.ready.is_set():
            raise self._failed(f"not ready after {self._part.ready_seconds:.0f} s: {failure}")
        self._set_state(PartState.UNREADY, str(failure))

    def _failed(self, message: str, remedy: str = "") -> PartFailed:
        self._set_state(PartState.FAILED, message)
        remedy = remedy or self._part.remedy or f"Read {self._log}."
        tail = files.tail(self._log, _LOG_LINES, self._logged)
        kind = PartUnreachable if isinstance(self._part.program, External) else PartFailed
        return kind(f"{self._part.name}: {message}", remedy, tail)

    def _set_state(
        self, state: PartState, detail: str = "", ready_after: float | None = None
    ) -> None:
        before = self._state.part(self._part.name)
        alive = self._process is not None and self._process.returncode is None
        now = replace(
            before,
            state=state,
            detail=detail,
            process=ProcessId.of(self._process.pid) if self._process and alive else None,
            restarts=self._restarts,
            restart_reason=self._restart_reason,
            ready_after=before.ready_after if ready_after is None else round(ready_after, 2),
        )
        if now != before:
            self._state.set_part(now)
