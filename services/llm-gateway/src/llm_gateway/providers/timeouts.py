"""Timeouts of reading what a provider sends."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import aiohttp

from interceptor.timers import Timers

if TYPE_CHECKING:
    from types import TracebackType

_MAX_ERROR_BYTES = 64 << 10
_ERROR_SECONDS = 5.0
_TRAILER_SECONDS = 0.25


class ReadTimeout(TimeoutError):
    """Nothing arrived in time."""


class ReadTimeouts:
    """How long to wait for a provider's next bytes, in seconds.

    `first_byte` is for the response, and for the first text or reasoning in it; `idle` for each
    further piece of it.
    """

    def __init__(self, first_byte: float, idle: float) -> None:
        self.first_byte = SharedTimeout(first_byte)
        self.idle = SharedTimeout(idle)


class SharedTimeout:
    """A timeout that many tasks use at once, on one timer of the event loop.

    `with timeout.wait():` does what `asyncio.timeout` does, and raises ReadTimeout. It costs a
    tenth of it: a reply may come in thousands of pieces.
    """

    def __init__(self, seconds: float) -> None:
        self._timers: Timers[_Wait] = Timers(seconds, _Wait.expire)

    def wait(self) -> _Wait:
        return _Wait(self._timers)


class _Wait:
    """A block that is cancelled when its timeout expires."""

    __slots__ = ("_cancelling", "_expired", "_task", "_timers")

    def __init__(self, timers: Timers[_Wait]) -> None:
        self._timers = timers
        self._expired = False
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0

    def __enter__(self) -> None:
        self._task = task = asyncio.current_task()
        self._cancelling = task.cancelling() if task is not None else 0
        self._timers.start(self)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timers.stop(self)
        if not self._expired or self._task is None:
            return
        # Somebody else may have cancelled the task too: then it stays cancelled.
        alone = self._task.uncancel() <= self._cancelling
        if alone and kind is asyncio.CancelledError:
            raise ReadTimeout from None

    def expire(self) -> None:
        self._expired = True
        if self._task is not None:
            self._task.cancel()


async def read_error_body(response: aiohttp.ClientResponse) -> bytes:
    """Return an error response's body, as much as arrives within 5 seconds and 64 KiB."""
    body = b""
    with suppress(aiohttp.ClientError, OSError, TimeoutError):
        async with asyncio.timeout(_ERROR_SECONDS):
            while len(body) < _MAX_ERROR_BYTES and (piece := await response.content.readany()):
                body += piece
    return body[:_MAX_ERROR_BYTES]


async def read_trailer(response: aiohttp.ClientResponse) -> None:
    """Read what follows the last event, so that the server sees its response taken."""
    if response.content.at_eof():
        return
    try:
        async with asyncio.timeout(_TRAILER_SECONDS):
            async for _ in response.content.iter_any():
                pass
    except (TimeoutError, aiohttp.ClientError, OSError):
        response.close()
