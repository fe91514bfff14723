"""How long what a provider sends is waited for."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import aiohttp

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

_MAX_ERROR_BYTES = 64 << 10
_ERROR_SECONDS = 5.0
_AFTERWARDS_SECONDS = 0.25


class Silent(TimeoutError):
    """Nothing came for too long."""


@asynccontextmanager
async def silence(seconds: float, over: float | None = None) -> AsyncGenerator[None]:
    """Bound the waiting for what comes next, in seconds or by the loop's clock. Raises Silent."""
    limit = asyncio.timeout(seconds) if over is None else asyncio.timeout_at(over)
    try:
        async with limit:
            yield
    except TimeoutError:
        raise (Silent if limit.expired() else TimeoutError) from None


async def error_body(response: aiohttp.ClientResponse) -> bytes:
    """Return what an error says, so far as it comes."""
    body = b""
    with suppress(aiohttp.ClientError, OSError, TimeoutError):
        async with asyncio.timeout(_ERROR_SECONDS):
            while len(body) < _MAX_ERROR_BYTES and (piece := await response.content.readany()):
                body += piece
    return body[:_MAX_ERROR_BYTES]


async def to_end(response: aiohttp.ClientResponse) -> None:
    """Read what follows the last event, so that the server sees its answer taken."""
    try:
        async with asyncio.timeout(_AFTERWARDS_SECONDS):
            async for _ in response.content.iter_any():
                pass
    except (TimeoutError, aiohttp.ClientError, OSError):
        response.close()
