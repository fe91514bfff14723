"""The processes of functions of one worker: which serves a call, and which call ended a process.

Calls of one tenant share a process. When a process ends or does not respond, a call is to blame
only if it was the only one that the process was ever given. Every other call is repeated in a new
process of its own, and no attempt is counted. A function that was to blame is isolated for some
minutes: each of its calls gets a process of its own, so that it does not end others' calls again.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from runs.domain.error_texts import ErrorText
from runs.domain.failures import StepFailed, StepImpossible
from runs.worker.function_host.exits import CallTimedOut, OutOfMemory, ProcessEnded, StartFailed
from runs.worker.function_host.process import FunctionProcess
from runs.worker.metrics import FUNCTION_FAILURES

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from nagaya_functions.calls import FunctionResult
    from runs.config import FunctionConfig
    from runs.worker.function_host.call import FunctionCall
    from runs.worker.function_host.exits import ProcessExit

_SHARED_CALLS = 16
"""A process with so many calls gets no more of them while its tenant may have another process."""

_IDLE_SECONDS = 60.0
_IDLE_CHECK_SECONDS = 5.0
_ISOLATION_SECONDS = 600.0
_MAX_ISOLATED = 10_000
_START_RETRY_SECONDS = 1.0
_log = logging.getLogger(__name__)


class FunctionPool:
    """The processes of functions, at most `config.processes`.

    A tenant has at most `share` percent of those that the other tenants leave.
    """

    def __init__(self, config: FunctionConfig, share: int) -> None:
        self._config = config
        self._share = share
        self._processes: list[FunctionProcess] = []
        self._stopping = False
        self._waiters: set[asyncio.Future[None]] = set()
        self._isolated: dict[tuple[str, str], float] = {}
        """Until when a tenant's function is isolated, by the loop's clock."""

    def counts(self) -> dict[str, int]:
        """Return how many processes are busy and idle, and how many more may be started."""
        processes = list(self._processes)
        busy = sum(one.open_calls > 0 for one in processes)
        free = self._config.processes - len(processes)
        return {"busy": busy, "idle": len(processes) - busy, "free": free}

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Serve calls inside the block; afterwards no process is left."""
        idle_check = asyncio.create_task(self._end_idle())
        try:
            yield
        finally:
            self._stopping = True
            idle_check.cancel()
            for process in self._processes:
                process.kill("the worker stops")
            await asyncio.gather(*(process.wait() for process in self._processes))

    async def call(self, call: FunctionCall, seconds: float) -> FunctionResult:
        """Call a function in a process of its tenant, for so many seconds at most.

        Raises TimeoutError, StepFailed for what the function does to its process, and whatever
        the function or its requests raise.
        """
        key = call.context.tenant_id, call.entry_point
        repeated = False
        while True:
            process = await self._acquire(key, repeated=repeated)
            try:
                return await process.call(call, min(seconds, self._config.seconds))
            except StartFailed as failed:
                FUNCTION_FAILURES.labels("start_failed").inc()
                _log.error(
                    "no process for functions starts",
                    extra={"event": "function_process.start_failed", "cause": str(failed)},
                )
                await asyncio.sleep(_START_RETRY_SECONDS)
            except ProcessEnded as ended:
                if self._stopping:
                    raise asyncio.CancelledError from None
                if process.total_calls == 1:
                    raise self._died(key, ended.process_exit) from None
            except OutOfMemory:
                process.retired = True
                if process.total_calls == 1:
                    raise self._out_of_memory(key) from None
            except CallTimedOut as timed_out:
                if not timed_out.was_blocked:
                    raise self._timed_out(seconds) from None
            finally:
                self._release(process)
            repeated = True

    async def _acquire(self, key: tuple[str, str], *, repeated: bool) -> FunctionProcess:
        """Wait for a process; a `repeated` call gets a new one of its own."""
        while True:
            process = self._find(key, repeated=repeated)
            if process is not None:
                process.open_calls += 1
                process.total_calls += 1
                return process
            change = asyncio.get_running_loop().create_future()
            self._waiters.add(change)
            try:
                await change
            finally:
                self._waiters.discard(change)

    def _find(self, key: tuple[str, str], *, repeated: bool) -> FunctionProcess | None:
        tenant_id, _ = key
        exclusive = repeated or self._is_isolated(key)
        own = [one for one in self._processes if one.tenant_id == tenant_id and not one.retired]
        if exclusive:
            usable = [] if repeated else [one for one in own if not one.open_calls]
        else:
            shared = (one for one in own if not one.exclusive)
            usable = sorted(shared, key=lambda one: one.open_calls)
        if usable and (exclusive or usable[0].open_calls < _SHARED_CALLS):
            usable[0].exclusive = exclusive
            return usable[0]
        process = self._start(tenant_id)
        if process is not None:
            process.exclusive = exclusive
            return process
        return usable[0] if usable else None

    def _start(self, tenant_id: str) -> FunctionProcess | None:
        """Start a process if there is room; otherwise end an idle one, to make room."""
        own = [one for one in self._processes if one.tenant_id == tenant_id]
        others = len(self._processes) - len(own)
        share = max(1, (self._config.processes - others) * self._share // 100)
        if len(own) >= share:
            self._end_longest_idle(own)
        elif len(self._processes) >= self._config.processes:
            self._end_longest_idle(self._processes)
        else:
            process = FunctionProcess(tenant_id, self._config, self._remove)
            self._processes.append(process)
            return process
        return None

    def _end_longest_idle(self, processes: list[FunctionProcess]) -> None:
        idle = [one for one in processes if not one.open_calls and not one.retired]
        if idle:
            min(idle, key=lambda one: one.idle_since).kill("another one is needed more")

    def _release(self, process: FunctionProcess) -> None:
        process.open_calls -= 1
        for entry_point in process.unresponsive:
            self._isolate((process.tenant_id, entry_point))
        if not process.open_calls:
            process.idle_since = asyncio.get_running_loop().time()
            process.exclusive = False
            if process.retired:
                process.kill("it takes no more calls")
        self._notify_waiters()

    def _remove(self, process: FunctionProcess) -> None:
        self._processes.remove(process)
        self._notify_waiters()

    def _notify_waiters(self) -> None:
        for change in self._waiters:
            if not change.done():
                change.set_result(None)

    def _is_isolated(self, key: tuple[str, str]) -> bool:
        return self._isolated.get(key, 0.0) > asyncio.get_running_loop().time()

    def _isolate(self, key: tuple[str, str]) -> None:
        self._isolated.pop(key, None)
        self._isolated[key] = asyncio.get_running_loop().time() + _ISOLATION_SECONDS
        if len(self._isolated) > _MAX_ISOLATED:
            del self._isolated[next(iter(self._isolated))]

    async def _end_idle(self) -> None:
        while True:
            await asyncio.sleep(_IDLE_CHECK_SECONDS)
            limit = asyncio.get_running_loop().time() - _IDLE_SECONDS
            for process in self._processes:
                if not process.open_calls and process.idle_since < limit:
                    process.kill("it had nothing to do")

    def _died(self, key: tuple[str, str], process_exit: ProcessExit) -> StepFailed:
        self._isolate(key)
        cause = process_exit.cause
        FUNCTION_FAILURES.labels("died").inc()
        _log.warning(
            "a function ended its process",
            extra={"event": "function_process.died", "cause": cause},
        )
        message = f"the function ended its process ({cause})"
        if cause == "SIGKILL":
            message += ": perhaps the machine had no memory left"
        text = ErrorText("FUNCTION_DIED", message, output=process_exit.output)
        return StepFailed("FUNCTION_DIED", message, text)

    def _out_of_memory(self, key: tuple[str, str]) -> StepFailed:
        self._isolate(key)
        FUNCTION_FAILURES.labels("out_of_memory").inc()
        return StepImpossible(
            "FUNCTION_OUT_OF_MEMORY",
            f"the function wants more than the {self._config.memory_mib:,} MiB of memory "
            "that a process of functions may have: read files with StepContext.stream, or have "
            "NAGAYA_FUNCTION_MEMORY_MIB raised",
        )

    def _timed_out(self, seconds: float) -> Exception:
        FUNCTION_FAILURES.labels("timed_out").inc()
        if seconds <= self._config.seconds:
            return TimeoutError()
        return StepFailed(
            "FUNCTION_TIMED_OUT",
            f"the function took longer than the {self._config.seconds:,.0f} s that this worker "
            "lets functions take (NAGAYA_FUNCTION_SECONDS)",
        )
