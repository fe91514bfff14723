"""The body of a request to a provider, which asks once more before it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.abc import AbstractStreamWriter

CONTENT_TYPE = "application/json"


class RequestBody(aiohttp.BytesPayload):
    """Calls `begin` when it is about to be written, and is not written if that returns false.

    aiohttp writes the headers together with it, so then nothing is sent at all, and the request
    ends in a ClientError.
    """

    def __init__(self, content: bytes, begin: Callable[[], bool]) -> None:
        super().__init__(content, content_type=CONTENT_TYPE)
        self._begin = begin

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        if not self._begin():
            raise aiohttp.ClientError("it may no longer be sent")
        await super().write_with_length(writer, content_length)
