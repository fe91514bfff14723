"""The interface of a wire format."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llmstub.domain import (
        Answer,
        ApiError,
        GenerationRequest,
        JsonObject,
        Provider,
        Reply,
        RequestRefused,
    )
    from llmstub.json_fields import JsonFields


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One server-sent event before it is numbered and written."""

    data: JsonObject | str
    event: str = ""
    text: str = ""  # the part of the visible reply that it carries


class WireFormat(Protocol):
    """How a provider's API is read and written: requests, replies, their events, refusals."""

    @property
    def provider(self) -> Provider: ...

    @property
    def request_id_header(self) -> str: ...

    def key(self, headers: Mapping[str, str], query: Mapping[str, str]) -> str:
        """Return the caller's key, or an empty string."""
        ...

    def key_refused(self, key: str) -> RequestRefused:
        """Return the provider's refusal of a key, or of its absence."""
        ...

    def read_request(
        self, body: JsonFields, headers: Mapping[str, str], query: Mapping[str, str]
    ) -> GenerationRequest:
        """Read a request. Raises RequestRefused."""
        ...

    def whole(self, answer: Answer) -> JsonObject:
        """Return the body of a reply that is not streamed."""
        ...

    def events(self, answer: Answer) -> Iterator[ServerSentEvent]: ...

    def encode(self, event: ServerSentEvent, index: int) -> bytes: ...

    def finish_reason(self, reply: Reply) -> str: ...

    def error(self, api_error: ApiError, request_id: str) -> JsonObject: ...

    def error_event(self, api_error: ApiError, request_id: str) -> ServerSentEvent:
        """Return the event that ends a stream with an error, under status 200."""
        ...

    def failed(self, answer: Answer, api_error: ApiError) -> JsonObject:
        """Return the body, under status 200, of a reply that failed."""
        ...

    def failed_event(self, answer: Answer, api_error: ApiError) -> ServerSentEvent: ...

    def unknown_event(self) -> ServerSentEvent:
        """Return an event of a type that no client knows yet."""
        ...


def dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def encode_event(event: ServerSentEvent, data: JsonObject | str, newline: str = "\n") -> bytes:
    head = f"event: {event.event}{newline}" if event.event else ""
    text = data if isinstance(data, str) else dumps(data)
    return f"{head}data: {text}{newline}{newline}".encode()


def bearer(headers: Mapping[str, str]) -> str:
    scheme, _, key = headers.get("Authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""
