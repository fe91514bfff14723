"""What an HTTP response says when it is no reply."""

from __future__ import annotations

import email.utils
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from jsonvalues import NotJson, parse
from llm_gateway.providers.wire_format import Fault, ProviderFault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jsonvalues import JsonObject
    from llm_gateway.providers.wire_format import WireFormatAdapter

_WORDS = {
    401: "the provider refuses the key",
    402: "the account cannot pay",
    403: "the provider refuses the key",
    404: "the provider has no such model",
    413: "the request is too large for the provider",
    429: "too many requests",
    503: "the provider is overloaded",
    529: "the provider is overloaded",
}
_TRANSIENT = (408, 409)  # a timeout of the provider's, a conflict with itself


def fault_of(
    adapter: WireFormatAdapter, status: int, headers: Mapping[str, str], body: bytes
) -> ProviderFault:
    """Return what a response with an error status means."""
    fault = adapter.refusal(status, _object(body)) or ProviderFault(
        _fault(status), _words(status), status=status
    )
    if fault.retry_after is None:
        fault.retry_after = retry_after(headers)
    if headers.get("x-should-retry") == "false":
        fault.final = True
    return fault


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return for how many seconds the provider asks to be left alone."""
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    told = headers.get("retry-after", "")
    seconds = _number(told)
    if seconds is not None or not told:
        return seconds
    try:
        moment = email.utils.parsedate_to_datetime(told)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max((moment - datetime.now(UTC)).total_seconds(), 0.0)


def _fault(status: int) -> Fault:
    if status == 429:
        return Fault.LIMITED
    if status == 402:
        return Fault.EXHAUSTED
    return Fault.UNAVAILABLE if status >= 500 or status in _TRANSIENT else Fault.REFUSED


def _words(status: int) -> str:
    if 300 <= status < 400:
        return f"HTTP {status}: redirects are not followed"
    usual = "the provider failed" if status >= 500 else "the provider refuses the request"
    return f"HTTP {status}: {_WORDS.get(status, usual)}"


def _object(body: bytes) -> JsonObject:
    try:
        value = parse(body)
    except NotJson:
        return {}
    if isinstance(value, list) and len(value) == 1:  # Gemini, when asked for a stream
        value = value[0]
    return value if isinstance(value, dict) else {}


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None
