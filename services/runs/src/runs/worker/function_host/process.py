"""The worker's side of one process of functions."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from contextlib import suppress
from functools import partial
from itertools import count
from subprocess import Popen
from typing import TYPE_CHECKING

from runs.worker.function_host.call import CallSession
from runs.worker.function_host.exits import CallTimedOut, ProcessEnded, ProcessExit, StartFailed
from runs.worker.function_host.frames import (
    MAX_FIELDS_FROM_CHILD,
    Frame,
    FrameInvalid,
    FrameKind,
    read_frame,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from nagaya_functions.calls import FunctionResult
    from runs.config import FunctionConfig
    from runs.worker.function_host.call import FunctionCall

CANCEL_GRACE_SECONDS = 1.0
"""How long a function has after it was told to stop; then its process is killed."""

STALLED_SECONDS = 0.5
"""A process that has not responded for so long has kept its other functions from running."""

BLOCKED_SECONDS = 3.0
"""A process with several calls is killed when one of them blocks it for so long."""

_PING_SECONDS = 0.25
_START_SECONDS = 60.0
_EXIT_SECONDS = 0.5
_KILL_SECONDS = 5.0
_LAST_OUTPUT_SECONDS = 0.2
_KEPT_OUTPUT_BYTES = 64 << 10


class FunctionProcess:
    """A child process that calls functions of one tenant. It starts at once.

    The pool counts `open_calls`, those that are running, and `total_calls`, all that there were.
    """

    def __init__(
        self, tenant_id: str, config: FunctionConfig, on_end: Callable[[FunctionProcess], None]
    ) -> None:
        self.tenant_id = tenant_id
        self.open_calls = 0
        self.total_calls = 0
        self.exclusive = False
        """Whether it has one call and takes no other meanwhile."""
        self.retired = False
        """Whether it takes no more calls."""
        self.unresponsive: set[str] = set()
        """The entry points of functions that blocked it for long, or did not stop when told to."""
        self._loop = asyncio.get_running_loop()
        self.idle_since = self._loop.time()
        self._config = config
        self._on_end = on_end
        self._numbers = count(1)
        self._sessions: dict[int, CallSession] = {}
        self._output = deque[bytes]()
        self._killed_because = ""
        self._exit: asyncio.Future[ProcessExit] = self._loop.create_future()
        self._ready = asyncio.Event()
        self._last_frame_at = self._stalled_at = 0.0
        self._loading = False
        self._process: Popen[bytes] | None = None
        self._output_reader = asyncio.StreamReader()
        self._writer: asyncio.StreamWriter | None = None
        self._stopping: set[asyncio.Task[None]] = set()
        self._running = asyncio.create_task(self._run())

    async def call(self, call: FunctionCall, seconds: float) -> FunctionResult:
        """Call a function, for so many seconds at most.

        Raises CallTimedOut, ProcessEnded, StartFailed, and what CallSession.run raises.
        """
        await self._ready.wait()
        if self._exit.done():
            raise StartFailed(self._exit.result().cause)
        number, begun = next(self._numbers), self._loop.time()
        session = CallSession(call, self._send)
        if not self._sessions:
            self._last_frame_at = begun  # it was not pinged since its last call
        self._sessions[number] = session
        self._send(Frame(FrameKind.CALL, number, fields=call.fields()))
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                result = await session.run()
        except TimeoutError:
            if not limit.expired():
                raise
            await self._stop(number, session)
            was_blocked = self.total_calls > 1 and self._stalled_at >= begun
            raise CallTimedOut(was_blocked=was_blocked) from None
        except asyncio.CancelledError:
            await self._stop(number, session)
            raise
        finally:
            if session.ended.is_set():
                self._sessions.pop(number, None)
        if result is None:
            raise ProcessEnded(await self._exit)
        return result

    def kill(self, because: str) -> None:
        """End the process, and whatever it has started, at once."""
        self.retired = True
        self._killed_because = self._killed_because or because
        if self._process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def wait(self) -> None:
        """Wait until the process has ended."""
        await asyncio.shield(self._running)

    async def _stop(self, number: int, session: CallSession) -> None:
        """Stop a call, even if the caller is cancelled meanwhile."""
        stopping = asyncio.create_task(self._cancel(number, session))
        self._stopping.add(stopping)
        stopping.add_done_callback(self._stopping.discard)
        await asyncio.shield(stopping)

    async def _cancel(self, number: int, session: CallSession) -> None:
        self._send(Frame(FrameKind.CANCEL, number))
        try:
            async with asyncio.timeout(CANCEL_GRACE_SECONDS):
                await session.ended.wait()
        except TimeoutError:
            if not self._loading:  # else it could not hear of it
                self.unresponsive.add(session.entry_point)
            self.kill("a function did not stop when it was told to")
            await session.ended.wait()
        self._sessions.pop(number, None)

    async def _run(self) -> None:
        """Start the process and receive its frames until it ends."""
        watching: list[asyncio.Task[None]] = []
        try:
            reader = await self._start()
            watching = [asyncio.create_task(one) for one in (self._keep_output(), self._ping())]
            if self._killed_because:  # before there was a process
                self.kill(self._killed_because)
            async with asyncio.timeout(_START_SECONDS):
                await self._receive(reader)
            self._ready.set()
            while True:
                await self._receive(reader)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # it has ended
        except (FrameInvalid, OSError, TimeoutError) as error:
            self.kill(f"{type(error).__name__}: {error}")
        finally:
            self.retired = True
            code = await self._exit_code()
            if watching:  # what it has written last
                await asyncio.wait(watching[:1], timeout=_LAST_OUTPUT_SECONDS)
            for one in watching:
                one.cancel()
            self._end(code)

    async def _start(self) -> asyncio.StreamReader:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = self._spawn(theirs)
            protocol = partial(asyncio.StreamReaderProtocol, self._output_reader)
            await self._loop.connect_read_pipe(protocol, self._process.stdout)
            reader, self._writer = await asyncio.open_unix_connection(sock=ours)
        except BaseException:
            ours.close()
            raise
        return reader

    def _spawn(self, connection: socket.socket) -> Popen[bytes]:
        """Start the process, from the thread of the loop: it ends when that thread does."""
        # Not by the loop: uvloop's fork runs gRPC's handlers of forks, whose threads crash one
        # process in ten of a busy worker before it has begun; and it opens our descriptors there.
        return Popen(
            (
                *(sys.executable, "-u", "-m", "runs.worker.function_host"),
                *(str(self._config.memory_mib << 20), str(os.getpid())),
            ),
            bufsize=0,
            stdin=connection.fileno(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(self._config.variables),
            start_new_session=True,
        )

    async def _receive(self, reader: asyncio.StreamReader) -> None:
        frame = await read_frame(reader, MAX_FIELDS_FROM_CHILD)
        self._last_frame_at = self._loop.time()
        if frame.kind in (FrameKind.LOADING, FrameKind.LOADED):
            self._loading = frame.kind is FrameKind.LOADING
        session = self._sessions.get(frame.call)
        if session is not None:
            session.receive(frame)

    async def _ping(self) -> None:
        """Find out whether the functions let each other run."""
        last = self._loop.time()
        while True:
            await asyncio.sleep(_PING_SECONDS)
            now, before, last = self._loop.time(), last, self._loop.time()
            if now - before > 2 * _PING_SECONDS:
                self._last_frame_at = now  # it is this loop that was late
            if not self._sessions:
                continue
            unanswered = now - self._last_frame_at
            if unanswered > STALLED_SECONDS:
                self._stalled_at = now
            if self._loading and unanswered < _START_SECONDS:
                continue  # each other process would have to import it too
            if unanswered > BLOCKED_SECONDS:
                self._blocked()
            self._send(Frame(FrameKind.PING))

    def _blocked(self) -> None:
        """See that a function which blocks the process blocks only itself."""
        if len(self._sessions) > 1:
            self.kill("a function blocked it, and so others")
        else:
            self.retired = True
            self.unresponsive.update(session.entry_point for session in self._sessions.values())

    async def _keep_output(self) -> None:
        """Keep the end of what the process writes: it may hold anything, so it is not logged."""
        size = 0
        while piece := await self._output_reader.read(_KEPT_OUTPUT_BYTES):
            self._output.append(piece)
            size += len(piece)
            while size - len(self._output[0]) >= _KEPT_OUTPUT_BYTES:
                size -= len(self._output.popleft())

    def _end(self, code: int | None) -> None:
        """Tell everyone who waits for the process."""
        if self._writer is not None:
            self._writer.close()
        output = b"".join(self._output)[-_KEPT_OUTPUT_BYTES:]
        self._exit.set_result(ProcessExit.of(code, self._killed_because, output))
        self._ready.set()
        for session in self._sessions.values():
            session.process_ended()
        self._on_end(self)

    async def _exit_code(self) -> int | None:
        if self._process is None:
            return None
        with suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(self._process.wait, _EXIT_SECONDS)
        if self._process.returncode is None:
            self.kill("it closed its connection to the worker")
            with suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(self._process.wait, _KILL_SECONDS)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)  # what it has started and left
        return self._process.returncode

    def _send(self, frame: Frame) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(frame.encode())
