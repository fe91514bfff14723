"""What OpenAI's two formats share: keys, errors, schemas, effort."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmstub.domain import JsonObject, Refused
from llmstub.formats import schema_rules
from llmstub.replies.schema import as_object

if TYPE_CHECKING:
    from llmstub.domain import Problem
    from llmstub.fields import Fields

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
_ANY_OBJECT: JsonObject = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "summary": {"type": "string"},
        "points": {"type": "array", "items": {"type": "string"}},
    },
}


def key_refused(key: str) -> Refused:
    if not key:
        return Refused(401, "You didn't provide an API key in an Authorization header.")
    return Refused(401, "Incorrect API key provided.")


def error(problem: Problem) -> JsonObject:
    default = "invalid_request_error" if problem.status < 500 else "server_error"
    kind, code = _ERRORS.get(problem.status, (default, None))
    code = problem.code or code
    if problem.spend_limit:
        kind, code = "insufficient_quota", "insufficient_quota"
    body = {"message": problem.message, "type": kind, "param": problem.field or None, "code": code}
    return {"error": body}


def check_parameters(body: Fields, known: frozenset[str]) -> None:
    """Refuse parameters that do not exist, and those that the newest models no longer take."""
    for name in body.raw.keys() - known:
        raise Refused(400, f"Unknown parameter: '{name}'.", name, code="unknown_parameter")
    body.one_of("service_tier", *_TIERS)
    if not (body.text("model") or "").startswith(_REASONING):
        return
    for name in _NOT_FOR_REASONING:
        if body.raw.get(name) is not None:
            words = f"Unsupported parameter: '{name}' is not supported with this model."
            raise Refused(400, words, name, code="unsupported_parameter")


def reasoning_tokens(model: str | None, effort: str | None, field: str) -> int:
    refused = _NOT_FOR_NEWEST if (model or "").startswith(_NEWEST) else ()
    if effort is not None and (effort not in _EFFORT or effort in refused):
        code = "unsupported_value" if effort in _EFFORT else ""
        raise Refused(400, f"Unsupported value: '{effort}' for {field}.", field, code=code)
    return _EFFORT[effort or "none"]


def schema(form: Fields | None) -> JsonObject | None:
    """Return the schema of a `format` that has name, schema and strict. Raises Refused."""
    kind = form.text("type") if form else None
    if form is None or kind in (None, "text"):
        return None
    if kind == "json_object":
        return _ANY_OBJECT
    if kind != "json_schema":
        raise Refused(400, f"Invalid value: '{kind}'.", form.path("type"))
    inner = form.child("json_schema") or form
    inner.required("name")
    found = as_object(inner.required("schema"))
    if inner.flag("strict"):
        schema_rules.check_strict(found, inner.path("schema"))
    return found
