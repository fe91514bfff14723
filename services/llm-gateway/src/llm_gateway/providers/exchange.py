"""One HTTP request to a provider, and its streamed reply. Nothing here ever sends twice."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING

import aiohttp

from jsonvalues import NotJson, scalar_text
from llm_gateway.providers.refusals import fault_of
from llm_gateway.providers.sse import EventParser, EventTooLong
from llm_gateway.providers.wire_format import Fault, ProviderFault

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping

    from jsonvalues import JsonObject
    from llm_gateway.domain.usage import ReportedUsage
    from llm_gateway.providers.wire_format import Ended, HttpRequest, WireFormatAdapter

_MAX_ERROR_BYTES = 64 << 10
_MAX_REPLY_CHARACTERS = 32 << 20
_AFTERWARDS_SECONDS = 0.25
_REQUEST_IDS = ("request-id", "x-request-id", "x-goog-request-id")
_REQUEST_ID = re.compile(r"[\w.:/-]{1,128}")
_HEADERS = {
    "accept": "text/event-stream",
    "accept-encoding": "identity",  # a compressed stream comes in lumps
    "content-type": "application/json",
    "user-agent": "nagaya-llm-gateway",
}


class Exchange:
    """One attempt, as the wire sees it."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        adapter: WireFormatAdapter,
        url: str,
        request: HttpRequest,
        headers: Mapping[str, str],
        *,
        large: bool,
    ) -> None:
        self._session = session
        self._adapter = adapter
        self._url = url
        self._body = request.body
        self._large = large
        self._headers = {**_HEADERS, **request.headers, **headers}
        self._reader = adapter.reader()
        self._characters = 0
        self._half = ""
        self._header_id = ""
        self.status = 0
        """The HTTP status; 0 until one has come."""

    @property
    def usage(self) -> ReportedUsage:
        """What the provider has told so far."""
        return self._reader.usage

    @property
    def request_id(self) -> str:
        """The provider's own id for the request; empty until told."""
        told = self._header_id or self._reader.request_id
        return told if _REQUEST_ID.fullmatch(told) else ""

    def end(self) -> Ended:
        """Return how the reply ended. Raises ProviderFault when its end never came."""
        return self._reader.end()

    async def texts(self) -> AsyncGenerator[str]:
        """Send the request; yield the reply's text as it comes. Raises ProviderFault."""
        body = await self._encoded()
        try:
            async with self._session.post(
                self._url, data=body, headers=self._headers, allow_redirects=False
            ) as response:
                self.status = response.status
                names = (n for n in _REQUEST_IDS if n in response.headers)
                self._header_id = response.headers.get(next(names, ""), "")
                if response.status != 200:
                    raise await self._refusal(response)
                async for text in self._reply(response):
                    yield text
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            raise ProviderFault(Fault.NEVER_SENT, "the provider cannot be reached") from None
        except aiohttp.InvalidURL:
            raise ProviderFault(Fault.NEVER_SENT, "the provider's address is not one") from None
        except aiohttp.SocketTimeoutError:
            raise self._lost("nothing came for too long") from None
        except TimeoutError:
            raise self._lost("the time for a reply was over") from None
        except (aiohttp.ClientError, OSError):
            raise self._lost("the connection broke") from None

    async def _encoded(self) -> bytes:
        if self._large:
            return await asyncio.to_thread(_encode, self._body)
        return _encode(self._body)

    async def _refusal(self, response: aiohttp.ClientResponse) -> ProviderFault:
        try:
            body = await response.content.read(_MAX_ERROR_BYTES)
        except (aiohttp.ClientError, TimeoutError):
            body = b""
        return fault_of(self._adapter, response.status, response.headers, body)

    async def _reply(self, response: aiohttp.ClientResponse) -> AsyncGenerator[str]:
        parser = EventParser()
        if response.content_type == "application/json":
            body = await response.content.read(_MAX_ERROR_BYTES)
            self._read([body.decode(errors="replace")])
            raise ProviderFault(Fault.MALFORMED, "not a stream", status=200)
        async for piece in response.content.iter_any():
            text = self._read(self._events(parser, piece))
            if text:
                yield text
            if self._reader.done:
                await _to_end(response)
                return
        text = self._read(parser.finish())
        if text:
            yield text

    def _events(self, parser: EventParser, piece: bytes) -> Iterator[str]:
        try:
            yield from parser.feed(piece)
        except EventTooLong:
            raise ProviderFault(Fault.MALFORMED, "an event is too long", status=200) from None

    def _read(self, events: Iterable[str]) -> str:
        """Return the text that events add; the half of a character waits for its other half."""
        try:
            text = self._half + "".join(map(self._reader.read, events))
        except NotJson:
            raise ProviderFault(Fault.MALFORMED, "an event is no JSON", status=200) from None
        cut = -1 if text and "\ud800" <= text[-1] <= "\udbff" else len(text)
        text, self._half = scalar_text(text[:cut]), text[cut:]
        self._characters += len(text)
        if self._characters > _MAX_REPLY_CHARACTERS:
            raise ProviderFault(Fault.MALFORMED, "the reply is too long", status=200)
        return text

    def _lost(self, words: str) -> ProviderFault:
        when = "before the reply" if self.status == 0 else "in the middle of the reply"
        return ProviderFault(Fault.LOST, f"{words} {when}", status=self.status)


def _encode(body: JsonObject) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


async def _to_end(response: aiohttp.ClientResponse) -> None:
    """Read what follows the last event, so that the connection can be used again."""
    try:
        async with asyncio.timeout(_AFTERWARDS_SECONDS):
            async for _ in response.content.iter_any():
                pass
    except (TimeoutError, aiohttp.ClientError, OSError):
        response.close()
