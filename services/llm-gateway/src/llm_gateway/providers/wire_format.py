"""What every wire format does: make a request, and read its reply."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from llm_gateway.domain.provider_errors import ProviderError

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator, Mapping

    from jsonvalues import Json, JsonObject
    from llm_gateway.domain.ends import ToldEnd, Verdict
    from llm_gateway.domain.models import WireFormat
    from llm_gateway.domain.requests import Prompt
    from llm_gateway.domain.usage import ReportedUsage


class Fault(StrEnum):
    """How an attempt failed, which decides whether another may follow."""

    NEVER_SENT = "never_sent"
    """No connection; the provider knows nothing of it."""
    UNAVAILABLE = "unavailable"
    """The provider said that it failed."""
    LIMITED = "limited"
    """Too much at once; later it will do."""
    EXHAUSTED = "exhausted"
    """The money or the quota is used up; later it will not do either."""
    REFUSED = "refused"
    """The request itself is refused."""
    MALFORMED = "malformed"
    """A whole answer that cannot be read, or does not fit the schema."""
    CUT = "cut"
    """A whole answer that a limit on output tokens cut off, so that it does not fit the schema."""
    DECLINED = "declined"
    """The model or the provider declines, so that there is no answer that can be used."""
    INCOMPLETE = "incomplete"
    """A whole answer whose end is not that of a complete one: the same request gets it again."""
    EMPTY = "empty"
    """A whole answer that says nothing: the same request gets it again."""
    LOST = "lost"
    """Sent, and the answer broke off: what became of it, nobody here knows."""


_REPLACEMENT = "\ufffd"
_RETRYABLE = (Fault.NEVER_SENT, Fault.UNAVAILABLE, Fault.LIMITED)


class ProviderFault(Exception):
    """An attempt failed. The message is the gateway's own, and never the provider's text."""

    def __init__(
        self, fault: Fault, words: str, *, status: int = 0, retry_after: float | None = None
    ) -> None:
        super().__init__(words)
        self.fault = fault
        self.words = words
        self.status = status
        self.retry_after = retry_after
        """Seconds, where the provider said so."""
        self.final = False
        """Whether the provider asks not to be tried again, or the same would come again."""
        self.cut_at_tokens: int | None = None
        """The limit on output tokens that cut the reply off."""
        self.asked_otherwise = False
        """Whether the next attempt leaves out, or says otherwise, what was refused."""
        self.told = ProviderError()
        """The provider's own words, not yet scrubbed."""

    @property
    def retryable(self) -> bool:
        """Whether another attempt may follow, without anybody having paid for this one."""
        return self.asked_otherwise or (self.fault in _RETRYABLE and not self.final)


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What is posted; the address and the key are added where it is sent."""

    path: str
    body: JsonObject
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a reply: what it makes of the reply, and what the provider told."""

    verdict: Verdict
    word: str
    """The provider's word for it."""
    thought: bool
    """Whether the model told some of its reasoning."""
    usage: ReportedUsage
    told: ProviderError
    """What the provider said of it besides, not yet scrubbed."""


class ReplyReader(Protocol):
    """Reads one reply, value by value. What it does not know it passes over.

    A value is an event's data, or the whole reply where the provider sent no stream. Whether a
    reply may be used is not decided here but by `domain.ends`.
    """

    request_id: str
    """The provider's own id of the reply; empty until told."""
    done: bool
    """Whether the terminal event has come."""
    end: ToldEnd
    """What has been heard that bears on the reply's end."""
    told: ProviderError
    """What the provider said of the end besides."""

    @property
    def usage(self) -> ReportedUsage:
        """What the provider has told so far."""
        ...

    def read(self, fields: JsonObject) -> str:
        """Return the text that a value adds. Raises ProviderFault."""
        ...


class WireFormatAdapter(Protocol):
    """One provider's way to be asked."""

    home: str
    """The provider's own address."""
    wire_format: WireFormat
    endpoint: re.Pattern[str]
    """What stands at the end of an address that was copied from a request."""
    versioned: bool
    """Whether an address with a path and without a version gets one, as in the provider's SDK."""

    def request(self, prompt: Prompt) -> HttpRequest:
        """Return the request for a streamed reply."""
        ...

    def authorization(self, key: str, host: str) -> Mapping[str, str]:
        """Return the headers that carry a key."""
        ...

    def reader(self) -> ReplyReader: ...


def text(fields: Mapping[str, Json], name: str) -> str:
    """Return a string; empty when there is none."""
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def child(fields: Mapping[str, Json], name: str) -> JsonObject:
    """Return an object; empty when there is none."""
    value = fields.get(name)
    return value if isinstance(value, dict) else {}


def children(fields: Mapping[str, Json], name: str) -> Iterator[JsonObject]:
    """Yield the objects of a list; none when there is no list."""
    value = fields.get(name)
    yield from (item for item in value if isinstance(item, dict)) if isinstance(value, list) else ()


def first_of(fields: Mapping[str, Json], name: str) -> JsonObject:
    """Return the alternative of index 0, which is the one that was asked for; empty when none is.

    What has no index has index 0.
    """
    nothing: JsonObject = {}
    first = (one for one in children(fields, name) if one.get("index") in (0, "0", None))
    return next(first, nothing)


class Said:
    """What has been said of a reply so far, in as many pieces as its provider likes."""

    def __init__(self) -> None:
        self._pieces: list[str] = []  # to join them at each would take the square of their number
        self.length = 0

    def __bool__(self) -> bool:
        return self.length > 0

    @property
    def text(self) -> str:
        self._pieces = ["".join(self._pieces)]
        return self._pieces[0]

    def add(self, piece: str) -> str:
        """Take the next piece, and return it."""
        self._pieces.append(piece)
        self.length += len(piece)
        return piece

    def rest_of(self, whole: str) -> str:
        """Return what a text that is told whole adds to the pieces.

        Raises ProviderFault if they are not its beginning, so that some were lost: those which have
        been passed on cannot be taken back. Space does not count, nor do pieces that hold half
        characters, nor a text that is told only in part.
        """
        said = self.text
        if whole.startswith(said):
            return whole[len(said) :]
        if _REPLACEMENT in said or _unspaced(whole) in _unspaced(said):
            return ""
        words = "pieces of the reply were lost: they are not what its end told whole"
        raise ProviderFault(Fault.MALFORMED, words, status=200)


def _unspaced(text: str) -> str:
    return "".join(text.split())


def second_reply() -> ProviderFault:
    """Return the fault of a stream in which a second reply begins before the first has ended."""
    words = "a second reply began in the middle of the first"
    return bad_reply(words)


def bad_reply(words: str) -> ProviderFault:
    """Return the fault of a reply that is paid, cannot be used, and would come again like that."""
    fault = ProviderFault(Fault.MALFORMED, words, status=200)
    fault.final = True
    return fault


def unfinished() -> ProviderFault:
    """Return the fault of a stream that ended in good order, but before the reply did."""
    return ProviderFault(Fault.MALFORMED, "the stream ended before the reply did")
