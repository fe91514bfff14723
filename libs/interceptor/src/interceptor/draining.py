"""Hearing a caller out who has been refused."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from interceptor.places import Places

_DRAIN_BYTES = 64 << 20
_DRAIN_SECONDS = 10.0
_SILENCE_SECONDS = 1.0


async def drain(context: grpc.aio.ServicerContext[Any, Any], places: Places, holder: str) -> None:
    """Read what the caller still sends, within bounds, until nothing comes; if it has a place.

    A status sent meanwhile is lost half of the time, because the stream is reset behind it.
    """
    if not places.enter(holder):
        return
    try:
        await _read(context)
    finally:
        places.leave(holder)


async def _read(context: grpc.aio.ServicerContext[Any, Any]) -> None:
    left = _DRAIN_BYTES
    loop = asyncio.get_running_loop()
    end = loop.time() + _DRAIN_SECONDS
    try:
        async with asyncio.timeout(_SILENCE_SECONDS) as silence:
            while left > 0 and (raw := await context.read()) is not grpc.aio.EOF:
                left -= len(raw)
                silence.reschedule(min(end, loop.time() + _SILENCE_SECONDS))
    except TimeoutError:
        return
