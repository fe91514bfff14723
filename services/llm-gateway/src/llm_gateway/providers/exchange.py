"""One HTTP request to a provider, and its streamed reply. Nothing here ever sends twice."""

from __future__ import annotations

import asyncio
import logging
import re
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp

from jsonvalues import NotJson, compact, scalar_text
from llm_gateway.domain.ends import judge
from llm_gateway.providers.error_bodies import error_in, page_text, read_error
from llm_gateway.providers.refusals import NOTHING_THERE, fault_in_reply, fault_of
from llm_gateway.providers.reply_bodies import EndMark, NoReply, ReplyBody
from llm_gateway.providers.sse import EventTooLong
from llm_gateway.providers.waiting import Silent, error_body, silence, to_end
from llm_gateway.providers.wire_format import Ended, Fault, ProviderFault, bad_reply, unfinished

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping

    from jsonvalues import Json, JsonObject
    from llm_gateway.domain.usage import ReportedUsage
    from llm_gateway.providers.parameters import Asked
    from llm_gateway.providers.reply_bodies import Told
    from llm_gateway.providers.wire_format import WireFormatAdapter

_MAX_REPLY_CHARACTERS = 32 << 20
_AFTER_END_SECONDS = 10.0
"""How long the rest of a reply is waited for whose end has come: its usage, its last event."""
_REQUEST_IDS = ("request-id", "x-request-id", "x-goog-request-id")
_REQUEST_ID = re.compile(r"[\w.:/-]{1,128}")
_HEADERS = {
    "accept": "text/event-stream",
    "accept-encoding": "identity",  # a compressed stream comes in lumps
    "content-type": "application/json",
    "user-agent": "nagaya-llm-gateway",
}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a provider may be silent, in seconds."""

    first_byte: float
    """Before its answer, and before the first text or reasoning of it."""
    idle: float
    """Between two pieces of it after that."""


class Exchange:
    """One attempt, as the wire sees it."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        adapter: WireFormatAdapter,
        url: str,
        asked: Asked,
        headers: Mapping[str, str],
        patience: Patience,
        *,
        large: bool,
    ) -> None:
        self._session = session
        self._adapter = adapter
        self._url = url
        self._asked = asked
        self._body = asked.request.body
        self._large = large
        self._headers = {**_HEADERS, **asked.request.headers, **headers}
        self._patience = patience
        self._reader = adapter.reader()
        self._reply_body = ReplyBody()
        self._characters = 0
        self._half = ""
        self._halves = 0
        self._header_id = ""
        self.status = 0
        """The HTTP status; 0 until one has come."""
        self.sent = False
        """Whether any of the request may have reached the provider."""

    @property
    def usage(self) -> ReportedUsage:
        """What the provider has told so far."""
        return self._reader.usage.doubted(self._asked.doubts(self._reader.usage.served))

    @property
    def note(self) -> str:
        """What was left out of the request; empty when nothing was."""
        return self._asked.note

    @property
    def request_id(self) -> str:
        """The provider's own id for the request; empty until told."""
        told = self._header_id or self._reader.request_id
        return told if _REQUEST_ID.fullmatch(told) else ""

    @property
    def ended(self) -> bool:
        """Whether the reply's end has come: then it is a reply, whatever follows or is missing."""
        return self._reader.end.told

    @property
    def unreadable(self) -> int:
        """How many characters of the reply U+FFFD stands for."""
        return self._reply_body.unreadable + self._halves

    def end(self, text: str) -> Ended:
        """Return what the end makes of a reply of this text. Raises ProviderFault if none came."""
        if not self.ended:
            raise unfinished()
        reader = self._reader
        verdict = judge(self._adapter.wire_format, reader.end, text)
        word, thought = reader.end.word, reader.end.thought
        return Ended(verdict, word, thought, reader.usage, reader.told)

    async def texts(self) -> AsyncGenerator[str]:
        """Send the request; yield the reply's text as it comes. Raises ProviderFault."""
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
            raise self._broken(error) from None
        except Exception as error:
            raise self._defect(error) from None

    async def _response(self, body: bytes) -> aiohttp.ClientResponse:
        async with silence(self._patience.first_byte):
            return await self._session.post(
                self._url,
                data=body,
                headers=self._headers,
                allow_redirects=False,
                trace_request_ctx=self,
            )

    async def _encoded(self) -> bytes:
        if self._large:
            return await asyncio.to_thread(_encode, self._body)
        return _encode(self._body)

    async def _refusal(self, response: aiohttp.ClientResponse) -> ProviderFault:
        body = await error_body(response)
        fault = fault_of(response.status, response.headers, body)
        if fault.fault is Fault.REFUSED and (
            words := self._asked.refused(response.status, body, self._url)
        ):
            fault.words, fault.asked_otherwise = f"{fault.words}; {words}", True
        return fault

    async def _reply(self, response: aiohttp.ClientResponse) -> AsyncGenerator[str]:
        """Yield the text of a reply; what came before a fault is paid for, and yielded first."""
        last, fault, over = False, None, None
        while not (last or self._reader.done):
            try:
                if self.ended:
                    over = over or asyncio.get_running_loop().time() + _AFTER_END_SECONDS
                async with silence(self._seconds(), over):
                    piece = await response.content.readany()
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                text, fault = self._read(self._left(response))
                fault, last = fault or (None if self.ended else error), True
            else:
                last = not piece
                body = self._reply_body
                text, fault = self._read(body.feed(piece) if piece else body.finish())
            if text:
                yield text
            if fault is not None:
                raise fault
        if not last:
            await to_end(response)

    def _seconds(self) -> float:
        """Return how long the next piece is waited for."""
        begun = self._characters > 0 or self._reader.end.thought
        return self._patience.idle if begun else self._patience.first_byte

    def _left(self, response: aiohttp.ClientResponse) -> Iterator[Told]:
        """Yield what had come before the connection broke, and has not been read."""
        # A StreamReader that has an exception gives it before the bytes that came earlier.
        for piece in tuple(getattr(response.content, "_buffer", ())):
            yield from self._reply_body.feed(piece)
        if self.ended or self._reply_body.is_document:
            yield from self._reply_body.finish()

    def _read(self, values: Iterable[Told]) -> tuple[str, Exception | None]:
        """Return the text that values add, and the fault behind it; half a character waits."""
        text, fault = self._half, None
        try:
            for event, value in values:
                text += self._value(event, value)
        except EndMark:
            self._reader.done = True
        except NotJson:
            if not self.ended:
                fault = ProviderFault(Fault.MALFORMED, "an event is no JSON", status=200)
        except NoReply as page:
            fault = ProviderFault(Fault.REFUSED, NOTHING_THERE, status=self.status)
            fault.told = read_error(page_text(page.args[0])).words
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

    def _value(self, event: str, value: Json) -> str:
        if isinstance(value, str) and event == "error":
            value = {"error": value}
        if value is None:
            return ""
        if not isinstance(value, dict):
            raise NotJson("no object")
        error, ended = error_in(value, event), self.ended
        text = self._reader.read(value)  # its usage counts, whatever else it tells
        if error is not None and not ended:
            raise fault_in_reply(error)
        return text

    def _broken(self, error: Exception) -> ProviderFault:
        """Return the fault of a connection that was not made, or that broke."""
        if not self.sent:
            if isinstance(error, aiohttp.InvalidURL):
                return ProviderFault(Fault.REFUSED, "the provider's address is not one")
            return ProviderFault(Fault.NEVER_SENT, "the provider cannot be reached")
        words = "the connection broke"
        if isinstance(error, TimeoutError):
            silent = isinstance(error, Silent)
            words = "nothing came for too long" if silent else "the time for a reply was over"
        when = "before the reply" if self.status == 0 else "in the middle of the reply"
        return ProviderFault(Fault.LOST, f"{words} {when}", status=self.status)

    def _defect(self, error: Exception) -> ProviderFault:
        """Return the fault of an error that nobody expected; what it says may quote a body."""
        frames = traceback.extract_tb(error.__traceback__)[-3:]
        where = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
        kind = type(error).__name__
        _log.error("an exchange with a provider failed", extra={"why": kind, "where": where})
        if not self.sent:
            return ProviderFault(Fault.REFUSED, f"the request cannot be sent: {kind}")
        if self.status == 0:
            return ProviderFault(Fault.LOST, f"the answer cannot be read: {kind}")
        words = f"the reply cannot be read: {kind}"
        return ProviderFault(Fault.MALFORMED, words, status=self.status)


def _encode(body: JsonObject) -> bytes:
    return compact(body).encode()
