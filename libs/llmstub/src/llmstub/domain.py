"""Requests and replies, independent of the wire format."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, TypeAlias, get_args

JsonObject: TypeAlias = dict[str, object]
Provider = Literal["claude", "openai", "gemini"]
PROVIDERS: tuple[Provider, ...] = get_args(Provider)


class FinishReason(StrEnum):
    """Why a reply ended; every format has its own word for each."""

    STOP = "stop"
    LENGTH = "length"
    STOP_SEQUENCE = "stop_sequence"
    FILTERED = "filtered"


@dataclass(frozen=True, slots=True)
class CachedPrefix:
    """The part of a prompt that the caller allows the provider to cache.

    The stub remembers no prompts: whether a prefix has been cached before is drawn from its text,
    so that one request always costs the same.
    """

    tokens: int
    is_hit: bool
    is_long: bool = False  # kept for the longer of the provider's two terms


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One request for a reply, as every format understands it."""

    model: str
    prompt: str  # the system's and all messages' texts, joined by blank lines
    input_tokens: int
    max_tokens: int | None = None  # reasoning included, as all three providers count it
    stream: bool = False
    schema: JsonObject | None = None  # empty: any JSON object; None: prose
    reasoning_tokens: int = 0
    shows_reasoning: bool = False
    stops: tuple[str, ...] = ()
    cached_prefix: CachedPrefix | None = None
    stream_usage: bool = True


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call, in buckets that do not overlap."""

    input: int = 0
    cache_read: int = 0
    cache_write_short: int = 0
    cache_write_long: int = 0
    output: int = 0
    reasoning: int = 0

    @property
    def cache_write(self) -> int:
        return self.cache_write_short + self.cache_write_long

    @property
    def whole_input(self) -> int:
        return self.input + self.cache_read + self.cache_write

    @property
    def whole_output(self) -> int:
        return self.output + self.reasoning


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply of the model; the chunks joined are the visible text."""

    chunks: tuple[str, ...]
    reasoning: str
    finish: FinishReason
    stop: str | None  # the stop sequence that ended it
    usage: Usage

    @property
    def text(self) -> str:
        return "".join(self.chunks)


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply on its way to one caller."""

    id: str  # 24 hex digits, new for every call; formats put their prefix before it
    created: int  # seconds since 1970
    request: GenerationRequest
    reply: Reply


@dataclass(frozen=True, slots=True)
class ApiError:
    """An error in no format yet; each format words it as its provider does."""

    status: int
    message: str
    field: str = ""
    spend_limit: bool = False
    retry_after: float | None = None  # seconds
    code: str = ""  # OpenAI's, where it has one of its own


class RequestRefused(Exception):
    """The stub does not accept this request, as the provider would not."""

    def __init__(self, status: int, message: str, field: str = "", *, code: str = "") -> None:
        super().__init__(message)
        self.api_error = ApiError(status, message, field, code=code)
