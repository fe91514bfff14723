"""Hearing a caller out who has been refused."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from interceptor.places import Places

_DRAIN_BYTES = 64 << 20
_DRAIN_SECONDS = 10.0
_SILENCE_SECONDS = 2.0


async def drain(
    context: grpc.aio.ServicerContext[Any, Any], places: Places, holder: str, *, heard: bool
) -> None:
    """Read what a caller still sends, within bounds; if its holder has a place for that.

    Who has not been heard at all may be silent for a moment only. A status sent
    meanwhile is lost half of the time, because the stream is reset behind it.
    """
    if not places.enter(holder):
        return
    try:
        await _read(context, _DRAIN_SECONDS if heard else _SILENCE_SECONDS)
    finally:
        places.leave(holder)


async def _read(context: grpc.aio.ServicerContext[Any, Any], silence_seconds: float) -> None:
    left = _DRAIN_BYTES
    loop = asyncio.get_running_loop()
    end = loop.time() + _DRAIN_SECONDS
    try:
        async with asyncio.timeout(silence_seconds) as silence:
            while left > 0 and (raw := await context.read()) is not grpc.aio.EOF:
                left -= len(raw)
                silence.reschedule(min(end, loop.time() + silence_seconds))
    except TimeoutError:
        return
