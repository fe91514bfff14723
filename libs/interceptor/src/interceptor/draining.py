"""Reading the rest of a request that has been refused."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from interceptor.concurrency_limit import ConcurrencyLimit
    from interceptor.fair_semaphore import FairSemaphore

_MOST_BYTES = 64 << 20
_MOST_SECONDS = 10.0
_SILENT_SECONDS = 2.0


async def drain_request(
    context: grpc.aio.ServicerContext[Any, Any],
    limit: ConcurrencyLimit,
    receiving: FairSemaphore,
    key: str,
    *,
    first_message_read: bool,
) -> None:
    """Read what a caller still sends: 64 MiB or 10 s at most, and nothing above `limit`.

    A caller whose first message has not been read may pause for 2 s only. Without this, a status
    sent while the caller is sending is lost half of the time: gRPC resets the stream behind it.
    """
    if not limit.acquire(key):
        return
    try:
        seconds = _MOST_SECONDS if first_message_read else _SILENT_SECONDS
        await _read(context, receiving, key, seconds)
    finally:
        limit.release(key)


async def _read(
    context: grpc.aio.ServicerContext[Any, Any],
    receiving: FairSemaphore,
    key: str,
    silent_seconds: float,
) -> None:
    left = _MOST_BYTES
    loop = asyncio.get_running_loop()
    end = loop.time() + _MOST_SECONDS
    try:
        async with asyncio.timeout(silent_seconds) as timeout:
            while left > 0:
                permit = await receiving.acquire(key)
                try:
                    raw = await context.read()
                finally:
                    permit.release()
                if raw is grpc.aio.EOF:
                    return
                left -= len(raw)
                del raw
                timeout.reschedule(min(end, loop.time() + silent_seconds))
    except TimeoutError:
        return
