"""Large JSON files, read in processes of their own.

Python's decoder reads 16 MiB in one go and lets no thread beside it run for up to seconds, the one
that serves every tenant among them.
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

from artifacts.domain.values import values_of
from interceptor.fair_semaphore import FairSemaphore

if TYPE_CHECKING:
    from collections.abc import Sequence

_AT_ONCE = 2
_LONGEST_SECONDS = 60.0
_NO_WORD_OF_SEMAPHORES = "ignore:resource_tracker:UserWarning"


class Documents:
    """Takes values out of files. One tenant has one file read at a time. Close it at the end."""

    def __init__(self) -> None:
        self._semaphore = FairSemaphore(_AT_ONCE, 1, _LONGEST_SECONDS)
        self._processes = _processes()

    async def values(
        self, tenant_id: str, body: bytes, json_pointers: Sequence[str], limit: int | None
    ) -> list[bytes | str | None]:
        """Return what `values_of` does."""
        processes = self._processes
        try:
            return await self._values(tenant_id, body, json_pointers, limit)
        except BrokenProcessPool:  # a process has died, perhaps over another file
            if processes is self._processes:
                processes.shutdown(wait=False)
                self._processes = _processes()
            return await self._values(tenant_id, body, json_pointers, limit)

    def close(self) -> None:
        self._processes.shutdown(wait=False, cancel_futures=True)

    async def _values(
        self, tenant_id: str, body: bytes, json_pointers: Sequence[str], limit: int | None
    ) -> list[bytes | str | None]:
        loop, permit = asyncio.get_running_loop(), await self._semaphore.acquire(tenant_id)

        def end(_: object) -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(permit.release)

        try:
            work = self._processes.submit(values_of, body, list(json_pointers), limit)
        except BaseException:
            permit.release()
            raise
        work.add_done_callback(end)  # not before: who gives up does not end what has begun
        return await asyncio.wrap_future(work)


def _processes() -> ProcessPoolExecutor:
    # When this process is killed, the tracker of its semaphores would say so on standard error,
    # which is for JSON. It is told by what the interpreter was told, as if by -W.
    if _NO_WORD_OF_SEMAPHORES not in sys.warnoptions:
        sys.warnoptions.append(_NO_WORD_OF_SEMAPHORES)
    # A fork would copy the threads' locks, gRPC's among them, as they are at that moment.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(_AT_ONCE, context, initializer=_begin)


def _begin() -> None:
    """Live as long as the parent, and no longer: it says when to stop, or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(0)
