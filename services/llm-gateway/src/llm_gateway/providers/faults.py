"""Classifying a provider's error, in an HTTP response or inside a stream, as a fault."""

from __future__ import annotations

import email.utils
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from jsonvalues import NotJson, parse
from llm_gateway.providers.error_bodies import page_text, parse_error
from llm_gateway.providers.wire_format import FailureKind, ProviderFault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jsonvalues import Json
    from llm_gateway.providers.error_bodies import ParsedError

LONGEST_WAIT_SECONDS = 31 * 86_400.0
"""The longest Retry-After that is believed; a monthly limit is over by then."""

_TRANSIENT = (408, 409)  # a timeout of the provider's, a conflict with itself
# Credit and spend limits: Anthropic's and OpenAI's newest codes, and probable new ones.
_MONEY = re.compile(
    r"spend_limit|usage_limit_exceeded|billing|credit_balance|not_billable"
    r"|insufficient_(quota|balance|credit|funds)|payment_required|credits_exhausted",
    re.IGNORECASE,
)
_MONEY_MESSAGE = re.compile(
    r"spend(ing)? (limit|cap)|monthly spend|credit balance is too low|reached your specified"
    r"|prepa(id|yment) credit|credits? (is|are|has been|have been) (used up|depleted|exhausted)",
    re.IGNORECASE,
)
# The prompt violates a policy of the provider, or of a filter in front of it.
_POLICY = re.compile(r"polic(y|ies)|content_?filter|moderation|invalid_prompt", re.IGNORECASE)
_LIMITED = re.compile(r"rate_limit|ramp_limit|too_many_requests")
_DISABLED = re.compile(
    r"organization_on_hold|organization_type_not_supported|parent_organization_required"
    r"|cmek_key_disabled|cmek_key_network_blocked|account_deactivated|SERVICE_DISABLED"
)
_TOO_LONG = re.compile(
    r"context_length|context_window|string_above_max_length|prompt is too long|maximum context"
    r"|context limit|input token count|too many (input )?tokens|input is too long",
    re.IGNORECASE,
)
_SCHEMA = re.compile(
    r"json_?schema|response_?format|text\.format|output_config|responseJsonSchema|response_schema"
    r"|responseSchema|invalid schema|compiled grammar",
    re.IGNORECASE,
)
_PARAMETER = re.compile(
    r"unsupported_(parameter|value)|unknown_parameter|unknown name|unrecognized request argument"
    r"|extra inputs are not permitted",
    re.IGNORECASE,
)
_BLANK = re.compile(
    r"must be non-?empty|must contain non-?whitespace|contents? (is|are) not specified",
    re.IGNORECASE,
)
_KEY = re.compile(r"api_key_invalid|invalid_api_key|api key not valid", re.IGNORECASE)
_MODEL = re.compile(r"model", re.IGNORECASE)
_GAVE_UP_WAITING = (504, 524)  # the second is Cloudflare's
_MESSAGES = {
    401: "the provider refuses the key",
    403: "the provider refuses the key",
    407: "a proxy in front of the provider wants to know who asks",
    413: "the request is too large for the provider",
    429: "too many requests",
    503: "the provider is overloaded",
    529: "the provider is overloaded",
}
NO_ENDPOINT = "nothing at the provider's address answers this: check its api_base_url"


def fault_of(status: int, headers: Mapping[str, str], body: bytes) -> ProviderFault:
    """Return the fault of an HTTP response that is not a reply."""
    error, readable = _body(body)
    fault = _fault(status, parse_error(error), place=f"HTTP {status}", readable=readable)
    if status in _GAVE_UP_WAITING and (status == 524 or not readable):
        # The provider behind that proxy may still be working, and may be paid for it.
        fault.kind = FailureKind.LOST
        fault.message = f"HTTP {status}: a proxy in front of the provider gave up waiting for it"
    if fault.retry_after is None:
        fault.retry_after = retry_after(headers)
    if headers.get("x-should-retry") == "false":
        fault.final = True
    elif headers.get("x-should-retry") == "true" and fault.kind is FailureKind.REFUSED:
        fault.kind = FailureKind.UNAVAILABLE
    return fault


def fault_in_reply(error: Json) -> ProviderFault:
    """Return the fault of an error inside a stream of status 200."""
    parsed = parse_error(error)
    status = parsed.status or (400 if parsed.names else 500)
    fault = _fault(status, parsed, place="the provider broke the reply off", readable=True)
    fault.status = 200
    return fault


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return how many seconds the provider asks to wait, a month at most; None when it does not."""
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return min(milliseconds / 1000, LONGEST_WAIT_SECONDS)
    values = [value for name, value in headers.items() if name.lower() == "retry-after"]
    waits = [wait for value in values for wait in _waits(value)]  # a proxy may add its own
    return min(max(waits), LONGEST_WAIT_SECONDS) if waits else None


def _fault(status: int, parsed: ParsedError, *, place: str, readable: bool) -> ProviderFault:
    kind, message = _classify(status, parsed, readable=readable)
    fault = ProviderFault(
        kind, f"{place}: {message}", status=status, retry_after=parsed.retry_after
    )
    fault.provider_error = parsed.error
    return fault


def _classify(status: int, parsed: ParsedError, *, readable: bool) -> tuple[FailureKind, str]:
    names, message = " ".join(sorted(parsed.names)), parsed.error.message
    if parsed.daily:
        return FailureKind.EXHAUSTED, "the daily quota is used up"
    if _is_money(status, parsed, names) and not parsed.passing:
        return FailureKind.EXHAUSTED, "the account's credit or spend limit is used up"
    if status < 500 and (_POLICY.search(names) or (status == 403 and parsed.moderated)):
        return FailureKind.DECLINED, "a policy of the provider's blocks the request"
    if status in (402, 429) or _LIMITED.search(names):
        return FailureKind.LIMITED, _MESSAGES[429]
    if status >= 500 or status in _TRANSIENT:
        return FailureKind.UNAVAILABLE, _MESSAGES.get(status, "the provider failed")
    text = f"{names} {parsed.error.param} {message}"
    return FailureKind.REFUSED, _refusal(status, text, readable=readable)


def _is_money(status: int, parsed: ParsedError, names: str) -> bool:
    if status == 402 or _MONEY.search(names):
        return True
    return status in (400, 403, 429) and _MONEY_MESSAGE.search(parsed.error.message) is not None


def _refusal(status: int, text: str, *, readable: bool) -> str:
    """Return, in the gateway's own words, why a request is refused."""
    if 300 <= status < 400:
        return "redirects are not followed"
    if status in (404, 405):
        no_model = readable and _MODEL.search(text)
        return "the provider has no such model" if no_model else NO_ENDPOINT
    if _KEY.search(text):
        return _MESSAGES[401]
    if _DISABLED.search(text):
        return "the account or its key is disabled"
    if _TOO_LONG.search(text):
        return "the prompt is too long for the model"
    if _SCHEMA.search(text):
        return "the provider does not take the output schema"
    if _PARAMETER.search(text):
        return "the provider does not take a parameter"
    if _BLANK.search(text):
        return "a turn of the prompt is blank"
    return _MESSAGES.get(status, "the provider refuses the request")


def _body(body: bytes) -> tuple[Json, bool]:
    """Return an error's body, parsed, and whether it has the form of an API's error."""
    try:
        value = parse(body)
    except NotJson:
        return page_text(body), False
    return value, parse_error(value).known


def _waits(value: str) -> list[float]:
    """Parse a Retry-After: seconds, a date, or several seconds joined by commas."""
    seconds = [_number(each) for each in value.split(",")]
    if None in seconds:
        seconds = [_seconds_until(value)]
    return [each for each in seconds if each is not None]


def _seconds_until(date: str) -> float | None:
    try:
        moment = email.utils.parsedate_to_datetime(date)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max((moment - datetime.now(UTC)).total_seconds(), 0.0)
    except (ValueError, OverflowError):
        return None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None
