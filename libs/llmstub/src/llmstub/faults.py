"""What a scripted rule makes the stub do, one class for each kind of action.

A class's fields are the options of the action in a script, with their defaults. `delay_ms`, before
the first byte, may be added to every action.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, TypeAlias, cast, get_args, get_type_hints

from llmstub.domain import ApiError, FinishReason, JsonObject, RequestRefused
from llmstub.replies.composer import NO_OVERRIDES, ReplyOverrides

if TYPE_CHECKING:
    from llmstub.domain import Provider

_OVERLOADED = {"claude": 529, "openai": 503, "gemini": 503}


@dataclass(frozen=True, slots=True)
class Status:
    """Answer with an error status and the provider's own error body, or the one given."""

    status: int
    message: str = "The stub's script answers with this status."
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: JsonObject | None = None

    def api_error(self, provider: Provider) -> ApiError:
        return ApiError(self.status, self.message, retry_after=_retry_after(self.headers))


@dataclass(frozen=True, slots=True)
class Overloaded:
    """Answer as the provider does when it is overloaded: 529 of Claude, 503 of the others."""

    headers: dict[str, str] = field(default_factory=dict[str, str])

    def api_error(self, provider: Provider) -> ApiError:
        retry_after = _retry_after(self.headers)
        return ApiError(_OVERLOADED[provider], "Overloaded", retry_after=retry_after)


@dataclass(frozen=True, slots=True)
class SpendLimit:
    """Answer 429 in the words that mean: no retry helps, the money is spent."""

    def api_error(self, provider: Provider) -> ApiError:
        return ApiError(429, "The spend limit of this organization is reached.", spend_limit=True)


@dataclass(frozen=True, slots=True)
class Drop:
    """Close the connection after so many bytes of the body; before the status line when 0."""

    after_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Hang:
    """Send nothing more, for good: a release drops the connection.

    Without `after_chunks` not even the status line is sent.
    """

    after_chunks: int | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """Wait for a release, then go on as if nothing had been."""

    after_chunks: int | None = None


@dataclass(frozen=True, slots=True)
class Delay:
    """Nothing but its `delay_ms`."""


@dataclass(frozen=True, slots=True)
class ErrorEvent:
    """Status 200, and after some chunks an error instead of the end."""

    after_chunks: int = 1
    status: int = 500  # of the error's words, not of the response
    message: str = "The stub's script breaks this reply."

    def api_error(self, provider: Provider) -> ApiError:
        return ApiError(self.status, self.message)


@dataclass(frozen=True, slots=True)
class Failed:
    """Status 200 and `status: failed`; formats without that word send their error object."""

    after_chunks: int = 1
    message: str = "The stub's script lets this reply fail."

    def api_error(self, provider: Provider) -> ApiError:
        return ApiError(500, self.message)


@dataclass(frozen=True, slots=True)
class TruncatedJson:
    """End the response inside an object: in a stream, inside the event after some chunks."""

    after_chunks: int = 1


@dataclass(frozen=True, slots=True)
class UnknownEvent:
    """Send, among the others, an event of a type that no client knows; the reply is whole."""

    after_chunks: int = 1


@dataclass(frozen=True, slots=True)
class FixedReply:
    """Say what the script says; the caller's limit still cuts it."""

    text: str | None = None
    finish: str | None = None  # stop, length or filtered
    reasoning_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    chunks: int | None = None

    @property
    def overrides(self) -> ReplyOverrides:
        return ReplyOverrides(
            text=self.text,
            finish=None if self.finish is None else FinishReason(self.finish),
            reasoning_tokens=self.reasoning_tokens,
            cached_tokens=self.cached_tokens,
            cache_write_tokens=self.cache_write_tokens,
            chunks=self.chunks,
        )


@dataclass(frozen=True, slots=True)
class Oversize:
    """Reply with at least so many bytes, whatever the caller's limit."""

    bytes: int

    @property
    def overrides(self) -> ReplyOverrides:
        return ReplyOverrides(least_bytes=self.bytes)


@dataclass(frozen=True, slots=True)
class RepeatedChunk:
    """Say one chunk in the middle many times over; it is part of the reply, which is whole."""

    times: int = 20

    @property
    def overrides(self) -> ReplyOverrides:
        return ReplyOverrides(repeats=self.times)


ErrorAction = Status | Overloaded | SpendLimit  # instead of a reply
BrokenReply = (
    ErrorEvent | Failed | TruncatedJson | UnknownEvent
)  # a reply that is not as it should be
ReplyAction = FixedReply | Oversize | RepeatedChunk  # a reply that is as the script wants it
ConnectionAction = Drop | Hang | Hold  # a connection that stands still or ends
Action: TypeAlias = ErrorAction | BrokenReply | ReplyAction | ConnectionAction | Delay

_KINDS: dict[str, type[Action]] = {
    "status": Status,
    "overloaded": Overloaded,
    "spend_limit": SpendLimit,
    "drop": Drop,
    "hang": Hang,
    "hold": Hold,
    "delay": Delay,
    "error_event": ErrorEvent,
    "failed": Failed,
    "truncated_json": TruncatedJson,
    "unknown_event": UnknownEvent,
    "reply": FixedReply,
    "oversize": Oversize,
    "repeated_chunk": RepeatedChunk,
}
_NAMES = {action: name for name, action in _KINDS.items()}


def name_of(action: Action) -> str:
    return _NAMES[type(action)]


def overrides_of(action: Action | None) -> ReplyOverrides:
    return action.overrides if isinstance(action, ReplyAction) else NO_OVERRIDES


def read(kind: str, options: JsonObject, where: str) -> Action:
    """Make an action of what a script says. Raises RequestRefused(400) naming what is wrong."""
    action = _KINDS.get(kind)
    if action is None:
        raise RequestRefused(400, f"{where}.kind: {kind!r} is none of {', '.join(_KINDS)}")
    hints = get_type_hints(action)
    known = {each.name for each in fields(action)}
    for name, value in options.items():
        if name not in known:
            raise RequestRefused(400, f"{where}.{name}: {kind} has no such option")
        if not _fits(value, hints[name]):
            raise RequestRefused(400, f"{where}.{name}: {value!r} is not allowed")
    if kind == "status" and not 200 <= cast("int", options.get("status", 200)) <= 599:
        raise RequestRefused(400, f"{where}.status: expected 200 to 599")
    if options.get("finish") not in (None, *FinishReason):
        raise RequestRefused(400, f"{where}.finish: one of {', '.join(FinishReason)}")
    try:
        return action(**options)  # pyright: ignore[reportArgumentType, reportCallIssue] - checked above
    except TypeError as error:
        raise RequestRefused(400, f"{where}: {kind} needs more options: {error}") from error


def _fits(value: object, hint: object) -> bool:
    allowed = get_args(hint) or (hint,)
    if hint == dict[str, str]:
        return isinstance(value, dict) and all(
            isinstance(each, str) for each in cast("JsonObject", value).values()
        )
    if isinstance(value, bool):
        return False
    if isinstance(value, int):
        return int in allowed and value >= 0
    if isinstance(value, str):
        return str in allowed
    if isinstance(value, dict):
        return any(option == JsonObject for option in allowed)
    return value is None and type(None) in allowed


def _retry_after(headers: dict[str, str]) -> float | None:
    value = next((text for name, text in headers.items() if name.lower() == "retry-after"), "")
    try:
        return float(value)
    except ValueError:
        return None
