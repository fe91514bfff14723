"""What OpenAI's two formats share: keys, errors, schemas, effort."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from llmstub.domain import JsonObject, Refused
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
    if problem.spend_limit:
        kind, code = "insufficient_quota", "insufficient_quota"
    body = {"message": problem.message, "type": kind, "param": problem.field or None, "code": code}
    return {"error": body}


def reasoning_tokens(effort: str | None, field: str) -> int:
    if effort is not None and effort not in _EFFORT:
        raise Refused(400, f"Invalid value: '{effort}'.", field)
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
        _check_strict(found, inner.path("schema"))
    return found


def _check_strict(part: object, field: str) -> None:
    """Refuse, as OpenAI does, a strict schema with an open object or an optional property."""
    if isinstance(part, list):
        for item in cast("list[object]", part):
            _check_strict(item, field)
    if not isinstance(part, dict):
        return
    node = cast("JsonObject", part)
    properties = node.get("properties")
    if isinstance(properties, dict):
        if node.get("additionalProperties") is not False:
            raise Refused(400, _INVALID.format("'additionalProperties' must be false"), field)
        required = cast("list[object]", node.get("required") or [])
        for name in cast("JsonObject", properties):
            if name not in required:
                raise Refused(400, _INVALID.format(f"'required' must include {name!r}"), field)
    for name, value in node.items():
        if name in ("properties", "$defs", "definitions") and isinstance(value, dict):
            _check_strict(list(cast("JsonObject", value).values()), field)
        else:
            _check_strict(value, field)


_INVALID = "Invalid schema for response_format: in strict mode, {}."
