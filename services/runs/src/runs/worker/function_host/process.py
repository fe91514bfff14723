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

from runs.worker.function_host.deaths import Death, ProcessEnded, StartFailed, TookTooLong
from runs.worker.function_host.exchange import Exchange
from runs.worker.function_host.frames import (
    FIELDS_FROM_CHILD,
    Frame,
    FrameInvalid,
    Kind,
    read_frame,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from runs.config import FunctionConfig
    from runs.worker.function_host.exchange import FunctionCall
    from runs.worker.functions import Files, FunctionResult

GRACE_SECONDS = 1.0
"""How long a function has after it was told to stop; then its process is ended."""

STALLED_SECONDS = 0.5
"""From when on a process that does not answer has kept its other functions waiting."""

BLOCKED_SECONDS = 3.0
"""A process that does several functions is ended when one of them blocks it for so long."""

_PING_SECONDS = 0.25
_START_SECONDS = 60.0
_EXIT_SECONDS = 0.5
_END_SECONDS = 5.0
_OUTPUT_SECONDS = 0.2
_KEPT_OUTPUT = 64 << 10


class FunctionProcess:
    """One child process, which does functions of one tenant. It starts at once.

    The pool counts `held`, the calls that it has now, and `served`, those that it was ever given.
    """

    def __init__(
        self, tenant_id: str, config: FunctionConfig, on_end: Callable[[FunctionProcess], None]
    ) -> None:
        self.tenant_id = tenant_id
        self.held = 0
        self.served = 0
        self.alone = False
        """Whether it does one call and takes no other meanwhile."""
        self.retired = False
        """Whether it takes no more calls."""
        self.unresponsive: set[str] = set()
        """The entries of functions that blocked it for long, or did not stop when told to."""
        self._loop = asyncio.get_running_loop()
        self.idle_since = self._loop.time()
        self._config = config
        self._on_end = on_end
        self._numbers = count(1)
        self._exchanges: dict[int, Exchange] = {}
        self._output = deque[bytes]()
        self._killed_for = ""
        self._death: asyncio.Future[Death] = self._loop.create_future()
        self._ready = asyncio.Event()
        self._heard = self._stalled_at = 0.0
        self._process: Popen[bytes] | None = None
        self._printed = asyncio.StreamReader()
        self._writer: asyncio.StreamWriter | None = None
        self._stopping: set[asyncio.Task[None]] = set()
        self._life = asyncio.create_task(self._live())

    async def call(self, call: FunctionCall, files: Files, seconds: float) -> FunctionResult:
        """Do a function within so many seconds.

        Raises TookTooLong, ProcessEnded, StartFailed, and what Exchange.run raises.
        """
        await self._ready.wait()
        if self._death.done():
            raise StartFailed(self._death.result().cause)
        number, begun = next(self._numbers), self._loop.time()
        exchange = Exchange(call.function.entry, files, self._send)
        if not self._exchanges:
            self._heard = begun  # nobody has asked it since the last call
        self._exchanges[number] = exchange
        self._send(Frame(Kind.CALL, number, fields=call.fields()))
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                result = await exchange.run()
        except TimeoutError:
            if not limit.expired():
                raise
            await self._stopped(number, exchange)
            kept_waiting = self.served > 1 and self._stalled_at >= begun
            raise TookTooLong(kept_waiting=kept_waiting) from None
        except asyncio.CancelledError:
            await self._stopped(number, exchange)
            raise
        finally:
            if exchange.ended.is_set():
                self._exchanges.pop(number, None)
        if result is None:
            raise ProcessEnded(await self._death)
        return result

    def kill(self, cause: str) -> None:
        """End the process, and whatever it has started, at once."""
        self.retired = True
        self._killed_for = self._killed_for or cause
        if self._process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def ended(self) -> None:
        """Wait until the process has ended."""
        await asyncio.shield(self._life)

    async def _stopped(self, number: int, exchange: Exchange) -> None:
        """Stop a call, even if whoever waits for that is cancelled."""
        stopping = asyncio.create_task(self._stop(number, exchange))
        self._stopping.add(stopping)
        stopping.add_done_callback(self._stopping.discard)
        await asyncio.shield(stopping)

    async def _stop(self, number: int, exchange: Exchange) -> None:
        self._send(Frame(Kind.CANCEL, number))
        try:
            async with asyncio.timeout(GRACE_SECONDS):
                await exchange.ended.wait()
        except TimeoutError:
            self.unresponsive.add(exchange.entry)
            self.kill("a function did not stop when it was told to")
            await exchange.ended.wait()
        self._exchanges.pop(number, None)

    async def _live(self) -> None:
        watching: list[asyncio.Task[None]] = []
        try:
            reader = await self._start()
            watching = [asyncio.create_task(one) for one in (self._keep_output(), self._ping())]
            if self._killed_for:  # before there was anything to be killed
                self.kill(self._killed_for)
            async with asyncio.timeout(_START_SECONDS):
                await self._take(reader)
            self._ready.set()
            while True:
                await self._take(reader)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # it has ended
        except (FrameInvalid, OSError, TimeoutError) as error:
            self.kill(f"{type(error).__name__}: {error}")
        finally:
            self.retired = True
            code = await self._exit_code()
            if watching:  # what it has written last
                await asyncio.wait(watching[:1], timeout=_OUTPUT_SECONDS)
            for one in watching:
                one.cancel()
            self._end(code)

    async def _start(self) -> asyncio.StreamReader:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = self._spawned(theirs)
            printed = partial(asyncio.StreamReaderProtocol, self._printed)
            await self._loop.connect_read_pipe(printed, self._process.stdout)
            reader, self._writer = await asyncio.open_unix_connection(sock=ours)
        except BaseException:
            ours.close()
            raise
        return reader

    def _spawned(self, connection: socket.socket) -> Popen[bytes]:
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

    async def _take(self, reader: asyncio.StreamReader) -> None:
        frame = await read_frame(reader, FIELDS_FROM_CHILD)
        self._heard = self._loop.time()
        exchange = self._exchanges.get(frame.call)
        if exchange is not None:
            exchange.put(frame)

    async def _ping(self) -> None:
        """Find out whether functions let others of the process go on."""
        last = self._loop.time()
        while True:
            await asyncio.sleep(_PING_SECONDS)
            now, before, last = self._loop.time(), last, self._loop.time()
            if now - before > 2 * _PING_SECONDS:
                self._heard = now  # it is this loop that was late
            if not self._exchanges:
                continue
            silence = now - self._heard
            if silence > STALLED_SECONDS:
                self._stalled_at = now
            if silence > BLOCKED_SECONDS:
                self._blocked()
            self._send(Frame(Kind.PING))

    def _blocked(self) -> None:
        """Have one function block nobody but itself."""
        if len(self._exchanges) > 1:
            self.kill("a function blocked it, and so others")
        else:
            self.retired = True
            self.unresponsive.update(exchange.entry for exchange in self._exchanges.values())

    async def _keep_output(self) -> None:
        """Keep the end of what the process writes: it may hold anything, so it is no log line."""
        size = 0
        while piece := await self._printed.read(_KEPT_OUTPUT):
            self._output.append(piece)
            size += len(piece)
            while size - len(self._output[0]) >= _KEPT_OUTPUT:
                size -= len(self._output.popleft())

    def _end(self, code: int | None) -> None:
        """Tell everybody who waits for the process."""
        if self._writer is not None:
            self._writer.close()
        output = b"".join(self._output)[-_KEPT_OUTPUT:]
        self._death.set_result(Death.of(code, self._killed_for, output))
        self._ready.set()
        for exchange in self._exchanges.values():
            exchange.lose()
        self._on_end(self)

    async def _exit_code(self) -> int | None:
        if self._process is None:
            return None
        with suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(self._process.wait, _EXIT_SECONDS)
        if self._process.returncode is None:
            self.kill("it closed its connection to the worker")
            with suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(self._process.wait, _END_SECONDS)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)  # what it has started and left
        return self._process.returncode

    def _send(self, frame: Frame) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(frame.packed())
