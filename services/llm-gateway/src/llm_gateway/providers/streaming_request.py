"""One HTTP request to a provider, and its streamed reply. Nothing here ever sends twice."""

from __future__ import annotations

import asyncio
import logging
import re
import traceback
from typing import TYPE_CHECKING

import aiohttp

from jsonvalues import NotJson, compact, scalar_text
from llm_gateway.domain.reply_ends import verdict_of
from llm_gateway.providers.error_bodies import error_in, page_text, parse_error
from llm_gateway.providers.faults import NO_ENDPOINT, fault_in_reply, fault_of
from llm_gateway.providers.reply_bodies import EndOfStream, HtmlPage, ReplyBodyParser
from llm_gateway.providers.request_body import CONTENT_TYPE, RequestBody
from llm_gateway.providers.sse import EventTooLong
from llm_gateway.providers.timeouts import (
    ReadTimeout,
    read_error_body,
    read_trailer,
)
from llm_gateway.providers.wire_format import (
    FailureKind,
    ProviderFault,
    ReplyEnd,
    bad_reply,
    unfinished,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping

    from jsonvalues import Json, JsonObject
    from llm_gateway.domain.provider_errors import ProviderError
    from llm_gateway.domain.usage import ReportedUsage
    from llm_gateway.providers.rejected_parameters import AdaptedRequest
    from llm_gateway.providers.reply_bodies import ReplyEvent
    from llm_gateway.providers.timeouts import ReadTimeouts
    from llm_gateway.providers.wire_format import WireFormatAdapter

_MAX_REPLY_CHARACTERS = 32 << 20
_AFTER_END_SECONDS = 10.0
"""How long to wait, after the finish reason, for the usage and the last event."""
_REQUEST_IDS = ("request-id", "x-request-id", "x-goog-request-id")
_REQUEST_ID = re.compile(r"[\w.:/-]{1,128}")
_HEADERS = {
    "accept": "text/event-stream",
    "accept-encoding": "identity",  # a compressed stream comes in lumps
    "content-type": CONTENT_TYPE,
    "user-agent": "nagaya-llm-gateway",
}
_log = logging.getLogger(__name__)


class StreamingRequest:
    """One attempt on the wire: the request, and what has been received of its reply."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        adapter: WireFormatAdapter,
        url: str,
        adapted: AdaptedRequest,
        headers: Mapping[str, str],
        timeouts: ReadTimeouts,
        may_send: Callable[[], bool],
        *,
        large: bool,
    ) -> None:
        self._session = session
        self._adapter = adapter
        self._url = url
        self._adapted = adapted
        self._large = large
        self._headers = {**_HEADERS, **adapted.request.headers, **headers}
        self._timeouts = timeouts
        self._may_send = may_send
        self._reader = adapter.reader()
        self._body = ReplyBodyParser()
        self._characters = 0
        self._half = ""
        self._too_late = False
        self._halves = 0
        self._header_id = ""
        self.status = 0
        """The HTTP status; 0 until it arrives."""
        self.sent = False
        """Whether any of the request may have reached the provider."""

    @property
    def usage(self) -> ReportedUsage:
        """The usage reported so far."""
        usage = self._reader.usage
        return usage.doubted(self._adapted.doubts(usage.reported_options))

    @property
    def note(self) -> str:
        """What was omitted from the request; empty when nothing was."""
        return self._adapted.note

    @property
    def request_id(self) -> str:
        """The provider's own id of the request; empty until it arrives."""
        request_id = self._header_id or self._reader.request_id
        return request_id if _REQUEST_ID.fullmatch(request_id) else ""

    @property
    def ended(self) -> bool:
        """Whether the finish reason has arrived: then the reply is whole, whatever follows."""
        return self._reader.end.received

    @property
    def provider_error(self) -> ProviderError:
        """The provider's explanation of an unusual end, not yet scrubbed."""
        return self._reader.provider_error

    @property
    def unreadable(self) -> int:
        """How many characters of the reply U+FFFD stands for."""
        return self._body.unreadable + self._halves

    def end(self, text: str) -> ReplyEnd:
        """Return how the reply of this text ended. Raises ProviderFault if it did not."""
        if not self.ended:
            raise unfinished()
        end = self._reader.end
        verdict = verdict_of(self._adapter.wire_format, end, text)
        return ReplyEnd(verdict, end.word, end.reasoning, self._reader.provider_error)

    async def texts(self) -> AsyncGenerator[str]:
        """Send the request; yield the reply's text as it arrives. Raises ProviderFault."""
        body = await self._encoded()
        try:
            async with await self._response(body) as response:
                self.status = response.status
                names = (n for n in _REQUEST_IDS if n in response.headers)
                self._header_id = response.headers.get(next(names, ""), "")
                if not 200 <= response.status < 300:
                    raise await self._refusal(response)
                async for text in self._reply(response):
                    yield text
        except ProviderFault:
            raise
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._connection_fault(error) from None
        except Exception as error:
            raise self._defect(error) from None

    def _begin_sending(self) -> bool:
        """Note that the request is about to be written; return whether it may be."""
        self.sent = self._may_send()
        self._too_late = not self.sent
        return self.sent

    async def _encoded(self) -> bytes:
        body = self._adapted.request.body
        return await asyncio.to_thread(_encode, body) if self._large else _encode(body)

    async def _response(self, body: bytes) -> aiohttp.ClientResponse:
        with self._timeouts.first_byte.wait():
            return await self._session.post(
                self._url,
                data=RequestBody(body, self._begin_sending),
                headers=self._headers,
                allow_redirects=False,
            )

    async def _refusal(self, response: aiohttp.ClientResponse) -> ProviderFault:
        body = await read_error_body(response)
        fault = fault_of(response.status, response.headers, body)
        if fault.kind is FailureKind.REFUSED and (
            change := self._adapted.learn(response.status, body, self._url)
        ):
            fault.message, fault.request_adapted = f"{fault.message}; {change}", True
        return fault

    async def _reply(self, response: aiohttp.ClientResponse) -> AsyncGenerator[str]:
        """Yield the text of a reply; what came before a fault is paid for, and yielded first."""
        last, fault, until = False, None, None
        while not (last or self._reader.done):
            if self.ended:
                until = until or asyncio.get_running_loop().time() + _AFTER_END_SECONDS
            try:
                piece = await self._piece(response, until)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                text, fault = self._read(self._unread(response))
                fault, last = fault or (None if self.ended else error), True
            else:
                last = not piece
                text, fault = self._read(self._body.feed(piece) if piece else self._body.finish())
            if text:
                yield text
            if fault is not None:
                raise fault
        if not last:
            await read_trailer(response)

    async def _piece(self, response: aiohttp.ClientResponse, until: float | None) -> bytes:
        """Return the next bytes, empty at the end. Raises TimeoutError, ReadTimeout among them."""
        begun = self._characters > 0 or self._reader.end.reasoning
        with (self._timeouts.idle if begun else self._timeouts.first_byte).wait():
            if until is None:
                return await response.content.readany()
            async with asyncio.timeout_at(until):
                return await response.content.readany()

    def _unread(self, response: aiohttp.ClientResponse) -> Iterator[ReplyEvent]:
        """Yield what had arrived before the connection broke, and has not been read."""
        # A StreamReader that has an exception gives it before the bytes that came earlier.
        for piece in tuple(getattr(response.content, "_buffer", ())):
            yield from self._body.feed(piece)
        if self.ended or self._body.is_document:
            yield from self._body.finish()

    def _read(self, events: Iterable[ReplyEvent]) -> tuple[str, Exception | None]:
        """Return the text that events add, and the fault after it; half a character waits."""
        text, fault = self._half, None
        try:
            for name, value in events:
                text += self._text_of(name, value)
        except EndOfStream:
            self._reader.done = True
        except NotJson:
            if not self.ended:
                fault = ProviderFault(FailureKind.MALFORMED, "an event is no JSON", status=200)
        except HtmlPage as page:
            fault = ProviderFault(FailureKind.REFUSED, NO_ENDPOINT, status=self.status)
            fault.provider_error = parse_error(page_text(page.args[0])).error
        except EventTooLong:
            fault = bad_reply("an event is too long")
        except ProviderFault as error:
            fault = error
        cut = -1 if text and "\ud800" <= text[-1] <= "\udbff" else len(text)
        whole, self._half = text[:cut], text[cut:]
        text = scalar_text(whole)
        if text != whole:
            self._halves += sum("\ud800" <= each <= "\udfff" for each in whole)
        self._characters += len(text)
        if self._characters > _MAX_REPLY_CHARACTERS:
            fault = bad_reply("the reply is too long")
        return text, fault

    def _text_of(self, name: str, value: Json) -> str:
        if isinstance(value, str) and name == "error":
            value = {"error": value}
        if value is None:
            return ""
        if not isinstance(value, dict):
            raise NotJson("no object")
        error, ended = error_in(value, name), self.ended
        text = self._reader.read(value)  # its usage counts, whatever else it contains
        if error is not None and not ended:
            raise fault_in_reply(error)
        return text

    def _connection_fault(self, error: Exception) -> ProviderFault:
        """Return the fault of a connection that was not made, or that broke."""
        if self._too_late:
            return ProviderFault(
                FailureKind.NEVER_SENT, "the lease was over before it could be sent"
            )
        if not self.sent:
            if isinstance(error, aiohttp.InvalidURL):
                return ProviderFault(FailureKind.REFUSED, "the provider's address is not one")
            return ProviderFault(FailureKind.NEVER_SENT, "the provider cannot be reached")
        message = "the connection broke"
        if isinstance(error, TimeoutError):
            timed_out = isinstance(error, ReadTimeout)
            message = "nothing came for too long" if timed_out else "the time for a reply was over"
        when = "before the reply" if self.status == 0 else "in the middle of the reply"
        return ProviderFault(FailureKind.LOST, f"{message} {when}", status=self.status)

    def _defect(self, error: Exception) -> ProviderFault:
        """Return the fault of an unexpected error, whose message may quote a body."""
        frames = traceback.extract_tb(error.__traceback__)[-3:]
        where = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
        kind = type(error).__name__
        _log.error(
            "an exchange with a provider failed",
            extra={"event": "provider_request.crashed", "why": kind, "where": where},
        )
        if not self.sent:
            return ProviderFault(FailureKind.REFUSED, f"the request cannot be sent: {kind}")
        if self.status == 0:
            return ProviderFault(FailureKind.LOST, f"the answer cannot be read: {kind}")
        message = f"the reply cannot be read: {kind}"
        return ProviderFault(FailureKind.MALFORMED, message, status=self.status)


def _encode(body: JsonObject) -> bytes:
    return compact(body).encode()
