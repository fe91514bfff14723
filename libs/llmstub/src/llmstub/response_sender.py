"""The response at the socket."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Mapping


class Dropped(Exception):
    """The script has closed the connection."""


class ResponseSender:
    """One HTTP response; counts what was sent and cuts it where the script says."""

    def __init__(self, request: web.BaseRequest, cut: int | None = None) -> None:
        """Send the response to a request; `cut` is the byte of the body to drop it at."""
        self._request = request
        self._response = web.StreamResponse()
        self._cut = cut
        self._sent = 0
        self.status: int | None = None

    @property
    def response(self) -> web.StreamResponse:
        return self._response

    async def begin(
        self, status: int, headers: Mapping[str, str], length: int | None = None
    ) -> None:
        """Send the head; without a length the body is chunked. Raises ConnectionError, Dropped."""
        if self._cut == 0:
            self.drop()
            raise Dropped
        self._response = web.StreamResponse(status=status, headers=headers)
        self._response.content_length = length
        await self._response.prepare(self._request)
        self.status = status

    async def write(self, data: bytes) -> None:
        """Send some of the body. Raises ConnectionError, Dropped."""
        if self._cut is not None and self._sent + len(data) >= self._cut:
            await self._response.write(data[: self._cut - self._sent])
            self.drop()
            raise Dropped
        self._sent += len(data)
        await self._response.write(data)

    async def whole(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Send a response that is known to its end. Raises ConnectionError, Dropped."""
        await self.begin(status, headers, len(body))
        await self.write(body)
        await self.end()

    async def end(self) -> None:
        await self._response.write_eof()

    def drop(self) -> None:
        """Close the connection once what was written is on its way."""
        if self._request.transport is not None:
            self._request.transport.close()
