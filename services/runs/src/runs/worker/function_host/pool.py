"""The processes of functions of one worker: which does a call, and whose fault it is if one ends.

A tenant's functions share a process, as they shared the worker's before. When a process ends, or
does not go on, only a call that was the first and only one it was ever given is to blame; every
other is done again, without a count, in a new process of its own. A function that was to blame
gets processes of its own for some minutes, so that it does not take others along again.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from runs.domain.error_texts import ErrorText
from runs.domain.failures import StepFailed, StepImpossible
from runs.worker.function_host.deaths import ProcessEnded, StartFailed, TookTooLong
from runs.worker.function_host.exchange import OutOfMemory
from runs.worker.function_host.process import FunctionProcess

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from runs.config import FunctionConfig
    from runs.worker.function_host.deaths import Death
    from runs.worker.function_host.exchange import FunctionCall
    from runs.worker.functions import Files, FunctionResult

_CALLS_AT_ONCE = 16
"""A process that does so many calls gets no more while its tenant may have another process."""

_IDLE_SECONDS = 60.0
_LOOK_SECONDS = 5.0
_APART_SECONDS = 600.0
_MOST_APART = 10_000
_START_AGAIN_SECONDS = 1.0
_log = logging.getLogger(__name__)


class FunctionPool:
    """At most so many processes; of those that the others leave, a tenant has `share` percent."""

    def __init__(self, config: FunctionConfig, share: int) -> None:
        self._config = config
        self._share = share
        self._processes: list[FunctionProcess] = []
        self._stopping = False
        self._waiting: set[asyncio.Future[None]] = set()
        self._apart: dict[tuple[str, str], float] = {}
        """Until when a tenant's function gets processes of its own, on the loop's clock."""

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Inside the block calls are done; afterwards no process is left."""
        looking = asyncio.create_task(self._end_idle())
        try:
            yield
        finally:
            self._stopping = True
            looking.cancel()
            for process in self._processes:
                process.kill("the worker stops")
            await asyncio.gather(*(process.ended() for process in self._processes))

    async def call(self, call: FunctionCall, files: Files, seconds: float) -> FunctionResult:
        """Do a function within so many seconds, in a process of its tenant.

        Raises TimeoutError, StepFailed for what the function does to its process, and whatever
        the function or its requests raise.
        """
        key = call.work.tenant_id, call.function.entry
        again = False
        while True:
            process = await self._acquire(key, again=again)
            try:
                return await process.call(call, files, min(seconds, self._config.seconds))
            except StartFailed as failed:
                _log.error("no process for functions starts", extra={"cause": str(failed)})
                await asyncio.sleep(_START_AGAIN_SECONDS)
            except ProcessEnded as ended:
                if self._stopping:
                    raise asyncio.CancelledError from None
                if process.served == 1:
                    raise self._died(call, ended.death) from None
            except OutOfMemory:
                process.retired = True
                if process.served == 1:
                    raise self._out_of_memory(key) from None
            except TookTooLong as late:
                if not late.kept_waiting:
                    raise self._timed_out(seconds) from None
            finally:
                self._release(process)
            again = True

    async def _acquire(self, key: tuple[str, str], *, again: bool) -> FunctionProcess:
        """Wait for a process: when the call is done `again`, for a new one of its own."""
        while True:
            process = self._find(key, again=again)
            if process is not None:
                process.held += 1
                process.served += 1
                return process
            change = asyncio.get_running_loop().create_future()
            self._waiting.add(change)
            try:
                await change
            finally:
                self._waiting.discard(change)

    def _find(self, key: tuple[str, str], *, again: bool) -> FunctionProcess | None:
        tenant_id, _ = key
        alone = again or self._is_apart(key)
        own = [one for one in self._processes if one.tenant_id == tenant_id and not one.retired]
        if alone:
            usable = [] if again else [one for one in own if not one.held]
        else:
            usable = sorted((one for one in own if not one.alone), key=lambda one: one.held)
        if usable and (alone or usable[0].held < _CALLS_AT_ONCE):
            usable[0].alone = alone
            return usable[0]
        process = self._start(tenant_id)
        if process is not None:
            process.alone = alone
            return process
        return usable[0] if usable else None

    def _start(self, tenant_id: str) -> FunctionProcess | None:
        """Start a process, if there is room; else see that there will be."""
        own = [one for one in self._processes if one.tenant_id == tenant_id]
        others = len(self._processes) - len(own)
        share = max(1, (self._config.processes - others) * self._share // 100)
        if len(own) >= share:
            self._end_one(own)
        elif len(self._processes) >= self._config.processes:
            self._end_one(self._processes)
        else:
            process = FunctionProcess(tenant_id, self._config, self._ended)
            self._processes.append(process)
            return process
        return None

    def _end_one(self, processes: list[FunctionProcess]) -> None:
        """End the process that has had nothing to do for longest, if there is one."""
        idle = [one for one in processes if not one.held and not one.retired]
        if idle:
            min(idle, key=lambda one: one.idle_since).kill("another one is needed more")

    def _release(self, process: FunctionProcess) -> None:
        process.held -= 1
        for entry in process.unresponsive:
            self._set_apart((process.tenant_id, entry))
        if not process.held:
            process.idle_since = asyncio.get_running_loop().time()
            process.alone = False
            if process.retired:
                process.kill("it takes no more calls")
        self._tell_waiting()

    def _ended(self, process: FunctionProcess) -> None:
        self._processes.remove(process)
        self._tell_waiting()

    def _tell_waiting(self) -> None:
        for change in self._waiting:
            if not change.done():
                change.set_result(None)

    def _is_apart(self, key: tuple[str, str]) -> bool:
        return self._apart.get(key, 0.0) > asyncio.get_running_loop().time()

    def _set_apart(self, key: tuple[str, str]) -> None:
        self._apart.pop(key, None)
        self._apart[key] = asyncio.get_running_loop().time() + _APART_SECONDS
        if len(self._apart) > _MOST_APART:
            del self._apart[next(iter(self._apart))]

    async def _end_idle(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            longest = asyncio.get_running_loop().time() - _IDLE_SECONDS
            for process in self._processes:
                if not process.held and process.idle_since < longest:
                    process.kill("it had nothing to do")

    def _died(self, call: FunctionCall, death: Death) -> StepFailed:
        self._set_apart((call.work.tenant_id, call.function.entry))
        _log.warning("a function ended its process", extra={"cause": death.cause})
        message = f"the function ended its process ({death.cause})"
        if death.cause == "SIGKILL":
            message += ": perhaps the machine had no memory left"
        text = ErrorText("FUNCTION_DIED", message, output=death.output)
        return StepFailed("FUNCTION_DIED", message, text)

    def _out_of_memory(self, key: tuple[str, str]) -> StepFailed:
        self._set_apart(key)
        return StepImpossible(
            "FUNCTION_OUT_OF_MEMORY",
            f"the function wants more than the {self._config.memory_mib:,} MiB of memory "
            "that a process of functions may have: read files with StepContext.stream, or have "
            "NAGAYA_FUNCTION_MEMORY_MIB raised",
        )

    def _timed_out(self, seconds: float) -> Exception:
        if seconds <= self._config.seconds:
            return TimeoutError()
        return StepFailed(
            "FUNCTION_TIMED_OUT",
            f"the function took longer than the {self._config.seconds:,.0f} s that this worker "
            "lets functions take (NAGAYA_FUNCTION_SECONDS)",
        )
