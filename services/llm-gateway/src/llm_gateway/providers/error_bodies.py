"""Parsing a provider's error, from an HTTP body or from inside a stream.

Sources of the forms: anthropic 2.12.0 types/shared and types/shared/error_details.py; openai 3.54.0
_exceptions.py and types/responses/response_error_event.py; google-genai 3.4.0 errors.py; Azure's
`innererror`, OpenRouter's numeric codes and `metadata`; what FastAPI and Mistral send without an
`error` around it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llm_gateway.domain.provider_errors import ProviderError
from llm_gateway.providers.wire_format import child, children, first_choice, string

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jsonvalues import Json, JsonObject

_STATUS = re.compile(r"[345][0-9][0-9]")
_EVENT = "error"
_PAGE = re.compile(r"<(script|style)\b.*?(</\1\s*>|\Z)|<[^<>]*>", re.IGNORECASE | re.DOTALL)
_PAGE_BYTES = 4_000
_NOTHING: JsonObject = {}
# The HTTP status that a code inside a stream stands for.
_STATUS_OF = {
    # Claude
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "timeout_error": 504,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "overloaded_error": 529,
    # OpenAI and who speaks as it does
    "rate_limit_exceeded": 429,
    "slow_down": 503,
    "server_error": 500,
    "server_is_overloaded": 503,
    "service_unavailable_error": 503,
    "internal_server_error": 500,
    "vector_store_timeout": 504,
    "invalid_api_key": 401,
    "model_not_found": 404,
    # Gemini
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 503,
    "DATA_LOSS": 500,
    "UNKNOWN": 500,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}


@dataclass(frozen=True, slots=True)
class ParsedError:
    """A provider's error, parsed."""

    error: ProviderError
    names: frozenset[str]
    """Everything that names the kind of error: codes, types, reasons."""
    status: int
    """The HTTP status that it stands for; 0 where there is none."""
    known: bool
    """Whether the body has the form of an error at all."""
    retry_after: float | None
    """Seconds to wait, where the body says so."""
    daily: bool
    """Whether a quota of a day is used up."""
    passing: bool
    """Whether a spending limit is only a momentary one."""
    moderated: bool
    """Whether it comes from a moderation filter."""


def page_text(body: bytes) -> str:
    """Return the text at the beginning of an HTML page; a plain text as it is."""
    text = body[:_PAGE_BYTES].decode(errors="replace")
    return " ".join(_PAGE.sub(" ", text).split())


def error_in(fields: JsonObject, event: str) -> Json:
    """Return the error in an event of a stream; None when there is none.

    As the providers' SDKs do: by the event's name, its type, or a member `error`.
    """
    error = fields.get("error")
    if isinstance(error, dict) and not any(error.values()):  # some send one with every chunk
        error = _NOTHING
    if string(fields, "type") == "response.failed":
        return child(fields, "response").get("error") or {}
    if _EVENT in (event, string(fields, "type"), string(fields, "object")):  # an object is vLLM's
        return fields if error is None else error
    return error or first_choice(fields, "choices").get("error") or None


def parse_error(body: Json) -> ParsedError:
    """Parse an error: the value of a member `error`, or the body that contains one."""
    fields, outer = _fields(body)
    details = list(_details(fields))
    reasons = [string(detail, "reason") for detail in details]
    inner = child(fields, "innererror") or child(fields, "inner_error")
    metadata = child(fields, "metadata")
    code = string(child(fields, "details"), "error_code") or _name(fields.get("code"))
    wrong = next(children(fields, "detail"), _NOTHING)  # FastAPI's list
    kind = string(fields, "type") or string(fields, "status") or string(wrong, "type")
    kind = "" if kind == _EVENT else kind
    names = {code, kind, string(inner, "code"), *reasons, string(outer, "type")} - {"", _EVENT}
    param = string(fields, "param") or next(_violated(details), "") or _place(wrong)
    message = string(fields, "message") or string(fields, "detail") or string(wrong, "msg")
    message = message or _plain(body)
    return ParsedError(
        error=ProviderError.of(code or next(filter(None, reasons), ""), kind, param, message),
        names=frozenset(names),
        status=_status(fields, [code, kind, *names]),
        known=bool(names or message),
        retry_after=next(_delays(details), None),
        daily=any(map(_is_daily, details)),
        passing="in_flight" in string(metadata, "limit_source"),
        moderated="flagged_input" in metadata or "reasons" in metadata,
    )


def _fields(body: Json) -> tuple[JsonObject, JsonObject]:
    """Return the object that describes the error, and the object around it."""
    outer: JsonObject = {}
    while True:
        if isinstance(body, list):  # Gemini, when asked for a stream
            body = body[0] if body else None
        if not isinstance(body, dict):
            return {}, outer
        inner = body.get("error")
        if not isinstance(inner, dict | list) or not inner:
            return (body if not isinstance(inner, str) else {**body, "message": inner}), outer
        outer, body = body, inner


def _plain(body: Json) -> str:
    return body if isinstance(body, str) else ""


def _name(code: Json) -> str:
    """Return a code as text; compatible servers write numbers too."""
    if isinstance(code, bool) or not isinstance(code, str | int):
        return ""
    return str(code)


def _status(fields: Mapping[str, Json], names: list[str]) -> int:
    for name in ("code", "status", "http_status", "status_code"):
        number = _name(fields.get(name))
        if _STATUS.fullmatch(number):
            return int(number)
    return next((_STATUS_OF[name] for name in names if name in _STATUS_OF), 0)


def _details(fields: JsonObject) -> Iterator[JsonObject]:
    details = fields.get("details")
    if isinstance(details, list):
        yield from (detail for detail in details if isinstance(detail, dict))


def _violated(details: list[JsonObject]) -> Iterator[str]:
    for detail in details:
        violations = detail.get("fieldViolations")
        for violation in violations if isinstance(violations, list) else []:
            if isinstance(violation, dict) and string(violation, "field"):
                yield string(violation, "field")


def _place(wrong: JsonObject) -> str:
    """Return the path to what is wrong in a request, as FastAPI writes it: `body.messages.0`."""
    path = wrong.get("loc")
    return ".".join(map(str, path)) if isinstance(path, list) else ""


def _is_daily(detail: JsonObject) -> bool:
    violations = detail.get("violations")
    quotas = violations if isinstance(violations, list) else []
    return any(isinstance(q, dict) and "PerDay" in string(q, "quotaId") for q in quotas)


def _delays(details: list[JsonObject]) -> Iterator[float]:
    for detail in details:
        try:
            seconds = float(string(detail, "retryDelay").removesuffix("s"))
        except ValueError:
            continue
        if 0 <= seconds < float("inf"):
            yield seconds
