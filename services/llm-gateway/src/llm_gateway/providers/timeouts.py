"""Timeouts of reading what a provider sends."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

_MAX_ERROR_BYTES = 64 << 10
_ERROR_SECONDS = 5.0
_TRAILER_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class ReadTimeouts:
    """How long to wait for a provider's next bytes, in seconds."""

    first_byte: float
    """For the response, and for the first text or reasoning in it."""
    idle: float
    """For each further piece of it."""


class ReadTimeout(TimeoutError):
    """Nothing arrived in time."""


@asynccontextmanager
async def read_timeout(seconds: float, until: float | None = None) -> AsyncGenerator[None]:
    """Limit the block to so many seconds, or until a moment of the loop's clock.

    Raises ReadTimeout.
    """
    limit = asyncio.timeout(seconds) if until is None else asyncio.timeout_at(until)
    try:
        async with limit:
            yield
    except TimeoutError:
        raise (ReadTimeout if limit.expired() else TimeoutError) from None


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
    try:
        async with asyncio.timeout(_TRAILER_SECONDS):
            async for _ in response.content.iter_any():
                pass
    except (TimeoutError, aiohttp.ClientError, OSError):
        response.close()
