"""What every wire format offers to the exchange."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llmstub.domain import Answer, Ask, JsonObject, Problem, Provider, Refused, Reply
    from llmstub.fields import Fields


@dataclass(frozen=True, slots=True)
class Frame:
    """One server-sent event before it is numbered and written."""

    data: JsonObject | str
    event: str = ""
    text: str = ""  # the part of the visible reply that it carries


class WireFormat(Protocol):
    @property
    def provider(self) -> Provider: ...

    @property
    def request_id_header(self) -> str: ...

    def key(self, headers: Mapping[str, str], query: Mapping[str, str]) -> str:
        """Return the caller's key, or an empty string."""
        ...

    def key_refused(self, key: str) -> Refused:
        """Return the provider's refusal of a key, or of its absence."""
        ...

    def ask(self, body: Fields, headers: Mapping[str, str], query: Mapping[str, str]) -> Ask:
        """Read a request. Raises Refused."""
        ...

    def whole(self, answer: Answer) -> JsonObject:
        """Return the body of a reply that is not streamed."""
        ...

    def frames(self, answer: Answer) -> Iterator[Frame]: ...

    def encode(self, frame: Frame, index: int) -> bytes: ...

    def finish_reason(self, reply: Reply) -> str: ...

    def error(self, problem: Problem, request_id: str) -> JsonObject: ...

    def error_frame(self, problem: Problem, request_id: str) -> Frame:
        """Return the event that ends a stream with an error, under status 200."""
        ...

    def failed(self, answer: Answer, problem: Problem) -> JsonObject:
        """Return the body, under status 200, of a reply that failed."""
        ...

    def failed_frame(self, answer: Answer, problem: Problem) -> Frame: ...

    def unknown_frame(self) -> Frame:
        """Return an event of a type that no client knows yet."""
        ...


def dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def server_sent(frame: Frame, data: JsonObject | str, newline: str = "\n") -> bytes:
    head = f"event: {frame.event}{newline}" if frame.event else ""
    text = data if isinstance(data, str) else dumps(data)
    return f"{head}data: {text}{newline}{newline}".encode()


def bearer(headers: Mapping[str, str]) -> str:
    scheme, _, key = headers.get("Authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""
