"""What OpenAI's two formats share: keys, errors, schemas, effort."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmstub.domain import RequestRefused
from llmstub.formats import schema_rules
from llmstub.replies.schemas import as_object

if TYPE_CHECKING:
    from llmstub.domain import ApiError, JsonObject
    from llmstub.json_fields import JsonFields

REQUEST_ID_HEADER = "x-request-id"
_ERRORS: dict[int, tuple[str, str | None]] = {
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "unsupported_country_region_territory"),
    404: ("invalid_request_error", "not_found"),
    429: ("requests", "rate_limit_exceeded"),
    503: ("server_error", "server_is_overloaded"),
}
_TIERS = ("auto", "default", "flex", "scale", "priority", "fast", "ultrafast")
_REASONING = "gpt-6"
_NOT_FOR_REASONING = ("temperature", "top_p", "top_logprobs", "stop", "max_tokens")
_NEWEST, _NOT_FOR_NEWEST = "gpt-6.2", ("none", "minimal")
_EFFORT = {
    "none": 0,
    "minimal": 16,
    "low": 64,
    "medium": 128,
    "high": 256,
    "xhigh": 384,
    "max": 512,
}


def key_refused(key: str) -> RequestRefused:
    if not key:
        return RequestRefused(401, "You didn't provide an API key in an Authorization header.")
    return RequestRefused(401, "Incorrect API key provided.")


def error(api_error: ApiError) -> JsonObject:
    default = "invalid_request_error" if api_error.status < 500 else "server_error"
    kind, code = _ERRORS.get(api_error.status, (default, None))
    code = api_error.code or code
    if api_error.spend_limit:
        kind, code = "insufficient_quota", "insufficient_quota"
    body = {
        "message": api_error.message,
        "type": kind,
        "param": api_error.field or None,
        "code": code,
    }
    return {"error": body}


def check_parameters(body: JsonFields, known: frozenset[str]) -> None:
    """Refuse parameters that do not exist, and those that the newest models no longer take."""
    for name in body.raw.keys() - known:
        raise RequestRefused(400, f"Unknown parameter: '{name}'.", name, code="unknown_parameter")
    body.one_of("service_tier", *_TIERS)
    if not (body.text("model") or "").startswith(_REASONING):
        return
    for name in _NOT_FOR_REASONING:
        if body.raw.get(name) is not None:
            words = f"Unsupported parameter: '{name}' is not supported with this model."
            raise RequestRefused(400, words, name, code="unsupported_parameter")


def reasoning_tokens(model: str | None, effort: str | None, field: str) -> int:
    refused = _NOT_FOR_NEWEST if (model or "").startswith(_NEWEST) else ()
    if effort is not None and (effort not in _EFFORT or effort in refused):
        code = "unsupported_value" if effort in _EFFORT else ""
        raise RequestRefused(400, f"Unsupported value: '{effort}' for {field}.", field, code=code)
    return _EFFORT[effort or "none"]


def schema(form: JsonFields | None) -> JsonObject | None:
    """Return the schema of a `format`, empty for any object; None for text. May refuse."""
    kind = form.text("type") if form else None
    if form is None or kind in (None, "text"):
        return None
    if kind == "json_object":
        return {}
    if kind != "json_schema":
        raise RequestRefused(400, f"Invalid value: '{kind}'.", form.path("type"))
    inner = form.child("json_schema") or form
    inner.required("name")
    found = as_object(inner.required("schema"))
    if inner.flag("strict"):
        schema_rules.check_strict(found, inner.path("schema"))
    return found
