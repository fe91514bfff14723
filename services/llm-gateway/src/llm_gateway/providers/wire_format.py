"""The interface of a wire format: it makes requests, and reads their replies."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from llm_gateway.domain.provider_errors import ProviderError

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator, Mapping

    from jsonvalues import Json, JsonObject
    from llm_gateway.domain.models import WireFormat
    from llm_gateway.domain.reply_ends import EndSignals, Verdict
    from llm_gateway.domain.requests import Prompt
    from llm_gateway.domain.usage import ReportedUsage


class FailureKind(StrEnum):
    """The kind of a failure, which decides whether another attempt may follow."""

    NEVER_SENT = "never_sent"
    """No connection: the provider has not seen the request."""
    UNAVAILABLE = "unavailable"
    """The provider reports that it failed."""
    LIMITED = "limited"
    """A rate limit; the same request may succeed later."""
    EXHAUSTED = "exhausted"
    """Money or quota is used up; waiting does not help."""
    REFUSED = "refused"
    """The provider refuses the request itself."""
    MALFORMED = "malformed"
    """A whole reply that cannot be parsed, or does not fit the schema."""
    CUT = "cut"
    """A reply that a limit on output tokens cut off, so that it does not fit the schema."""
    DECLINED = "declined"
    """The model or the provider declines, so that there is no usable reply."""
    INCOMPLETE = "incomplete"
    """A reply whose finish reason is not that of a complete one; it would come again."""
    EMPTY = "empty"
    """A reply without content; it would come again."""
    LOST = "lost"
    """Sent, and the connection broke: the outcome is unknown, and may be paid."""


_REPLACEMENT = "\ufffd"
_FIRST = (0, "0", None)
_RETRYABLE = (FailureKind.NEVER_SENT, FailureKind.UNAVAILABLE, FailureKind.LIMITED)


class ProviderFault(Exception):
    """A failed attempt. The message is the gateway's own, never the provider's text."""

    def __init__(
        self, kind: FailureKind, message: str, *, status: int = 0, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.status = status
        self.retry_after = retry_after
        """Seconds to wait, where the provider asks for it."""
        self.final = False
        """Whether the provider asks not to retry, or a retry would fail in the same way."""
        self.cut_at_tokens: int | None = None
        """The limit on output tokens that cut the reply off."""
        self.request_adapted = False
        """Whether the next attempt omits or replaces what was refused."""
        self.provider_error = ProviderError()
        """The error in the provider's own words, not yet scrubbed."""

    @property
    def retryable(self) -> bool:
        """Whether another attempt may follow because this one cost nothing."""
        return self.request_adapted or (self.kind in _RETRYABLE and not self.final)


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request's path, body and headers; base URL and key are added when it is sent."""

    path: str
    body: JsonObject
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ReplyEnd:
    """How a reply ended: the verdict, and what the provider reported."""

    verdict: Verdict
    word: str
    """The provider's finish reason."""
    reasoning: bool
    """Whether part of the reply is reasoning."""
    provider_error: ProviderError
    """The provider's explanation of an unusual end, not yet scrubbed."""


class ReplyReader(Protocol):
    """Reads one reply, value by value; unknown members are ignored.

    A value is an event's data, or the whole reply where the provider sent no stream. Whether a
    reply can be used is decided by `domain.reply_ends`.
    """

    request_id: str
    """The provider's own id of the reply; empty until it arrives."""
    done: bool
    """Whether the terminal event has arrived."""
    end: EndSignals
    provider_error: ProviderError
    """The provider's explanation of an unusual end."""

    @property
    def usage(self) -> ReportedUsage:
        """The usage reported so far."""
        ...

    def read(self, fields: JsonObject) -> str:
        """Return the text that a value adds to the reply. Raises ProviderFault."""
        ...


class WireFormatAdapter(Protocol):
    """Makes the requests of one wire format."""

    home: str
    """The default base URL."""
    wire_format: WireFormat
    endpoint: re.Pattern[str]
    """Matches the endpoint at the end of a base URL that was copied from a request."""
    versioned: bool
    """Whether a base URL with a path and without a version gets one, as in the provider's SDK."""

    def request(self, prompt: Prompt) -> HttpRequest:
        """Return the request for a streamed reply."""
        ...

    def authorization(self, key: str, host: str) -> Mapping[str, str]:
        """Return the headers that carry a key."""
        ...

    def reader(self) -> ReplyReader: ...


def string(fields: Mapping[str, Json], name: str) -> str:
    """Return a member that is a string; empty when there is none."""
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def text(fields: Mapping[str, Json], name: str) -> str:
    """Return a piece of the reply's text; empty when there is none.

    Raises ProviderFault when it is anything but text: without it the rest would be another reply.
    """
    value = fields.get(name)
    if value is None or isinstance(value, str):
        return value or ""
    raise bad_reply(f"a piece of the reply is no text: its {name} is something else")


def child(fields: Mapping[str, Json], name: str) -> JsonObject:
    """Return a member that is an object; empty when there is none."""
    value = fields.get(name)
    return value if isinstance(value, dict) else {}


def children(fields: Mapping[str, Json], name: str) -> Iterator[JsonObject]:
    """Yield the objects in a member that is a list; none when there is none."""
    value = fields.get(name)
    for item in value if isinstance(value, list) else ():
        if isinstance(item, dict):
            yield item


def first_choice(fields: Mapping[str, Json], name: str) -> JsonObject:
    """Return the alternative of index 0, or without an index; empty when there is none."""
    for choice in children(fields, name):
        if choice.get("index") in _FIRST:
            return choice
    return {}


class ReplyText:
    """The text of a reply so far, in pieces."""

    def __init__(self) -> None:
        self._pieces: list[
            str
        ] = []  # joined only when needed: at each piece it would take quadratic time
        self.length = 0

    def __bool__(self) -> bool:
        return self.length > 0

    @property
    def text(self) -> str:
        self._pieces = ["".join(self._pieces)]
        return self._pieces[0]

    def add(self, piece: str) -> str:
        """Add the next piece, and return it."""
        self._pieces.append(piece)
        self.length += len(piece)
        return piece

    def rest_of(self, whole: str) -> str:
        """Return what the whole text, sent at the end, adds to the pieces.

        Raises ProviderFault if the pieces are not its beginning, so that some were lost: what has
        been passed on cannot be taken back. Space is ignored, as are pieces with half characters,
        and a whole text that is only a part.
        """
        text = self.text
        if whole.startswith(text):
            return whole[len(text) :]
        if _REPLACEMENT in text or _without_space(whole) in _without_space(text):
            return ""
        message = "pieces of the reply were lost: they are not what its end told whole"
        raise ProviderFault(FailureKind.MALFORMED, message, status=200)


def _without_space(text: str) -> str:
    return "".join(text.split())


def second_reply() -> ProviderFault:
    """Return the fault of a stream in which a second reply begins before the first has ended."""
    return bad_reply("a second reply began in the middle of the first")


def bad_reply(message: str) -> ProviderFault:
    """Return the fault of a reply that is paid, cannot be used, and would come again."""
    fault = ProviderFault(FailureKind.MALFORMED, message, status=200)
    fault.final = True
    return fault


def unfinished() -> ProviderFault:
    """Return the fault of a stream that ended without an error, but before the reply did."""
    return ProviderFault(FailureKind.MALFORMED, "the stream ended before the reply did")
