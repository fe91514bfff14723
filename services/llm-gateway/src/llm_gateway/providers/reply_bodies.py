"""Parsing the body of a reply: server-sent events, one JSON value, or a list of them.

The first character tells which. The content type is ignored: servers call a stream JSON, and JSON a
stream; some answer a request for a stream with one JSON value, and Gemini with a list of them where
`alt=sse` was lost on the way.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from jsonvalues import NotJson, parse
from llm_gateway.providers.sse import EventParser, EventTooLong

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jsonvalues import Json

_MAX_DOCUMENT = 64 << 20
_SPACE = b" \t\r\n\xef\xbb\xbf"
_SEPARATORS = "[,] \t\r\n\ufeff"
_END_MARK = "[DONE]"
_REPLACEMENT = "\ufffd"
_scanner = json.JSONDecoder()
_lenient = json.JSONDecoder(parse_constant=lambda _: None)


class ReplyEvent(NamedTuple):
    """One value of a reply, and the name of its event; empty where it has none."""

    name: str
    value: Json


class EndOfStream(Exception):
    """The stream's own mark of its end has arrived."""


class HtmlPage(Exception):
    """The body is an HTML page; the argument is its beginning."""


class ReplyBodyParser:
    """Parses the bytes of a reply into values; empty data is ignored."""

    def __init__(self) -> None:
        self._events = EventParser()
        self._document: list[bytes] | None = None
        self._begun = False
        self._size = 0
        self.unreadable = 0
        """How many characters were not UTF-8, and were replaced by U+FFFD."""

    @property
    def is_document(self) -> bool:
        """Whether the body is JSON, not a stream of events."""
        return self._document is not None

    def feed(self, piece: bytes) -> Iterator[ReplyEvent]:
        """Take the next bytes; yield what they complete.

        Raises NotJson, EventTooLong, EndOfStream, HtmlPage.
        """
        if not self._begun:
            if not piece.strip(_SPACE):
                return
            self._begun = True
            if piece.lstrip(_SPACE).startswith(b"<"):
                raise HtmlPage(piece)
            if piece.lstrip(_SPACE)[:1] in (b"{", b"["):
                self._document = []
        if self._document is None:
            for event in self._events.feed(piece):
                yield from self._events_in(event.name, event.data)
            return
        self._size += len(piece)
        if self._size > _MAX_DOCUMENT:
            raise EventTooLong
        self._document.append(piece)

    def finish(self) -> Iterator[ReplyEvent]:
        """Yield what the end of the body completes. Raises NotJson, EndOfStream."""
        if self._document is None:
            for event in self._events.finish():
                yield from self._events_in(event.name, event.data)
            return
        for value in _values(self._decoded(b"".join(self._document))):
            yield ReplyEvent("", value)

    def _events_in(self, name: str, data: bytes) -> Iterator[ReplyEvent]:
        text = self._decoded(data).strip()
        if not text:
            return
        try:
            yield from _listed(name, text)
        except NotJson:
            if name == "error":
                yield ReplyEvent(name, text)  # some servers send errors as plain text
                return
            lines = [line for line in text.split("\n") if line.strip()]
            if len(lines) == 1:
                raise
            for line in lines:  # a server that leaves out the empty lines between its events
                yield from _listed(name, line)

    def _decoded(self, data: bytes) -> str:
        try:
            return data.decode()
        except UnicodeDecodeError:
            text = data.decode(errors="replace")
            own = data.count(_REPLACEMENT.encode())
            self.unreadable += text.count(_REPLACEMENT) - own
            return text


def _listed(name: str, text: str) -> Iterator[ReplyEvent]:
    """Yield the value of an event, or the values of its list. Raises NotJson, EndOfStream."""
    if text.startswith(_END_MARK):
        raise EndOfStream
    value = _value(text)
    yield from (ReplyEvent(name, each) for each in (value if isinstance(value, list) else [value]))


def _values(text: str) -> Iterable[Json]:
    """Yield the whole values of a document: of one, of a list, or of one on each line."""
    at = 0
    while True:
        while at < len(text) and text[at] in _SEPARATORS:
            at += 1
        if at == len(text):
            return
        try:
            _, end = _scanner.raw_decode(text, at)
        except (ValueError, RecursionError):
            raise NotJson("the reply is no JSON, or breaks off") from None
        yield _value(text[at:end])
        at = end


def _value(text: str) -> Json:
    """Read one value; NaN and the infinities, which servers in Python write, become null."""
    try:
        return parse(text)
    except NotJson:
        if "NaN" not in text and "Infinity" not in text:
            raise
    try:
        return _lenient.decode(text)
    except (ValueError, RecursionError):
        raise NotJson("no JSON") from None
