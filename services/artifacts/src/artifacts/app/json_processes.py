"""Child processes that parse large JSON files.

Python's JSON decoder holds the interpreter lock for up to seconds over 16 MiB, so a thread would
block the event loop.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from typing import TYPE_CHECKING

from artifacts.domain.values import extract_values
from interceptor.fair_semaphore import FairSemaphore

if TYPE_CHECKING:
    from collections.abc import Sequence

_PROCESSES = 2
_PERMIT_SECONDS = 60.0
_IGNORE_TRACKER_WARNING = "ignore:resource_tracker:UserWarning"


class JsonProcesses:
    """Extracts JSON values in two processes, one file of a tenant at a time. To be closed."""

    def __init__(self) -> None:
        self._semaphore = FairSemaphore(_PROCESSES, 1, _PERMIT_SECONDS)
        self._pool = _process_pool()

    async def values(
        self, tenant_id: str, body: bytes, json_pointers: Sequence[str], limit: int | None
    ) -> list[bytes | str | None]:
        """Return what `extract_values` returns."""
        pool = self._pool
        try:
            return await self._values(tenant_id, body, json_pointers, limit)
        except BrokenProcessPool:  # a process has died, perhaps of another file
            if pool is self._pool:
                pool.shutdown(wait=False)
                self._pool = _process_pool()
            return await self._values(tenant_id, body, json_pointers, limit)

    def close(self) -> None:
        """Let the processes end, without waiting for them."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _values(
        self, tenant_id: str, body: bytes, json_pointers: Sequence[str], limit: int | None
    ) -> list[bytes | str | None]:
        loop, permit = asyncio.get_running_loop(), await self._semaphore.acquire(tenant_id)

        def release(_: object) -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(permit.release)

        try:
            work = self._pool.submit(extract_values, body, list(json_pointers), limit)
        except BaseException:
            permit.release()
            raise
        work.add_done_callback(release)  # not when the caller gives up: the process works on
        return await asyncio.wrap_future(work)


def _process_pool() -> ProcessPoolExecutor:
    # When this process is killed, multiprocessing's resource tracker would write a warning to
    # standard error, which is for JSON logs. It inherits the interpreter's options, as if by -W.
    if _IGNORE_TRACKER_WARNING not in sys.warnoptions:
        sys.warnoptions.append(_IGNORE_TRACKER_WARNING)
    # A fork would copy locks of other threads, such as gRPC's, in the state of that moment.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(_PROCESSES, context, initializer=_initialize)


def _initialize() -> None:
    """Ignore signals, and exit when the parent does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(0)
