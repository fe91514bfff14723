"""What every wire format does: make a request, read its reply, understand its refusals."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jsonvalues import Json, JsonObject
    from llm_gateway.domain.requests import Prompt
    from llm_gateway.domain.usage import FinishReason, ReportedUsage


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
    """A whole answer in which the model or the provider declines, so that it fits no schema."""
    LOST = "lost"
    """Sent, and the answer broke off: what became of it, nobody here knows."""


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
        """Whether the provider asks not to be tried again."""
        self.cut_at_tokens: int | None = None
        """The limit on output tokens that cut the reply off."""

    @property
    def retryable(self) -> bool:
        """Whether another attempt may follow, without anybody having paid for this one."""
        return self.fault in _RETRYABLE and not self.final


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What is posted; the address and the key are added where it is sent."""

    path: str
    body: JsonObject
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a reply, as the provider told it."""

    finish_reason: FinishReason
    usage: ReportedUsage


class ReplyReader(Protocol):
    """Reads one reply, event by event. What it does not know it passes over."""

    request_id: str
    """The provider's own id of the reply; empty until told."""
    done: bool
    """Whether the terminal event has come."""

    @property
    def usage(self) -> ReportedUsage:
        """What the provider has told so far."""
        ...

    def read(self, data: str) -> str:
        """Return the text that an event's data adds. Raises ProviderFault, NotJson."""
        ...

    def end(self) -> Ended:
        """Return how the reply ended. Raises ProviderFault when its end never came."""
        ...


class WireFormatAdapter(Protocol):
    """One provider's way to be asked."""

    home: str
    """The provider's own address."""

    def request(self, prompt: Prompt) -> HttpRequest:
        """Return the request for a streamed reply."""
        ...

    def authorization(self, key: str) -> Mapping[str, str]:
        """Return the headers that carry a key."""
        ...

    def reader(self) -> ReplyReader: ...

    def refusal(self, status: int, body: JsonObject) -> ProviderFault | None:
        """Return what an error body means beyond its status; None when the status says it all."""
        ...


def text(fields: Mapping[str, Json], name: str) -> str:
    """Return a string; empty when there is none."""
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def child(fields: Mapping[str, Json], name: str) -> JsonObject:
    """Return an object; empty when there is none."""
    value = fields.get(name)
    return value if isinstance(value, dict) else {}


def unfinished() -> ProviderFault:
    """Return the fault of a stream that ended in good order, but before the reply did."""
    return ProviderFault(Fault.MALFORMED, "the stream ended before the reply did")
