"""What a provider's error means: one table for HTTP responses and for errors inside a stream."""

from __future__ import annotations

import email.utils
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from jsonvalues import NotJson, parse
from llm_gateway.providers.error_bodies import page_text, read_error
from llm_gateway.providers.wire_format import Fault, ProviderFault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jsonvalues import Json
    from llm_gateway.providers.error_bodies import ToldError

LONGEST_WAIT_SECONDS = 31 * 86_400.0
"""The longest wait that a provider is believed to mean; a monthly limit is over by then."""

_TRANSIENT = (408, 409)  # a timeout of the provider's, a conflict with itself
# Money. Anthropic's and OpenAI's newest codes, and those to come: they name more each year.
_SPENT = re.compile(
    r"spend_limit|usage_limit_exceeded|billing|credit_balance|not_billable"
    r"|insufficient_(quota|balance|credit|funds)|payment_required|credits_exhausted",
    re.IGNORECASE,
)
_SPENT_MESSAGE = re.compile(
    r"spend(ing)? (limit|cap)|monthly spend|credit balance is too low|reached your specified"
    r"|prepa(id|yment) credit|credits? (is|are|has been|have been) (used up|depleted|exhausted)",
    re.IGNORECASE,
)
# What is asked goes against a policy of the provider's, or of a filter in front of it.
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
_WORDS = {
    401: "the provider refuses the key",
    403: "the provider refuses the key",
    407: "a proxy in front of the provider wants to know who asks",
    413: "the request is too large for the provider",
    429: "too many requests",
    503: "the provider is overloaded",
    529: "the provider is overloaded",
}
NOTHING_THERE = "nothing at the provider's address answers this: check its api_base_url"


def fault_of(status: int, headers: Mapping[str, str], body: bytes) -> ProviderFault:
    """Return what an HTTP response that is no reply means."""
    error, readable = _body(body)
    fault = _fault(status, read_error(error), place=f"HTTP {status}", readable=readable)
    if status in _GAVE_UP_WAITING and (status == 524 or not readable):
        # Whoever is behind that proxy may be at work still, and may be paid for it.
        fault.fault = Fault.LOST
        fault.words = f"HTTP {status}: a proxy in front of the provider gave up waiting for it"
    if fault.retry_after is None:
        fault.retry_after = retry_after(headers)
    if headers.get("x-should-retry") == "false":
        fault.final = True
    elif headers.get("x-should-retry") == "true" and fault.fault is Fault.REFUSED:
        fault.fault = Fault.UNAVAILABLE
    return fault


def fault_in_reply(error: Json) -> ProviderFault:
    """Return what an error means that is told under status 200."""
    told = read_error(error)
    status = told.status or (400 if told.names else 500)
    fault = _fault(status, told, place="the provider broke the reply off", readable=True)
    fault.status = 200
    return fault


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return for how many seconds the provider asks to be left alone, a month at most."""
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return min(milliseconds / 1000, LONGEST_WAIT_SECONDS)
    told = [value for name, value in headers.items() if name.lower() == "retry-after"]
    waits = [wait for each in told for wait in _waits(each)]  # a proxy may add its own
    return min(max(waits), LONGEST_WAIT_SECONDS) if waits else None


def _fault(status: int, told: ToldError, *, place: str, readable: bool) -> ProviderFault:
    kind, words = _meaning(status, told, readable=readable)
    fault = ProviderFault(kind, f"{place}: {words}", status=status, retry_after=told.retry_after)
    fault.told = told.words
    return fault


def _meaning(status: int, told: ToldError, *, readable: bool) -> tuple[Fault, str]:
    names, message = " ".join(sorted(told.names)), told.words.message
    if told.daily:
        return Fault.EXHAUSTED, "the daily quota is used up"
    if _spent(status, told, names) and not told.passing:
        return Fault.EXHAUSTED, "the account's credit or spend limit is used up"
    if status < 500 and (_POLICY.search(names) or (status == 403 and told.moderated)):
        return Fault.DECLINED, "a policy of the provider's blocks the request"
    if status in (402, 429) or _LIMITED.search(names):
        return Fault.LIMITED, _WORDS[429]
    if status >= 500 or status in _TRANSIENT:
        return Fault.UNAVAILABLE, _WORDS.get(status, "the provider failed")
    said = f"{names} {told.words.param} {message}"
    return Fault.REFUSED, _refused(status, said, readable=readable)


def _spent(status: int, told: ToldError, names: str) -> bool:
    if status == 402 or _SPENT.search(names):
        return True
    return status in (400, 403, 429) and _SPENT_MESSAGE.search(told.words.message) is not None


def _refused(status: int, said: str, *, readable: bool) -> str:
    """Return, in the gateway's own words, what is wrong with a request."""
    if 300 <= status < 400:
        return "redirects are not followed"
    if status in (404, 405):
        no_model = readable and _MODEL.search(said)
        return "the provider has no such model" if no_model else NOTHING_THERE
    if _KEY.search(said):
        return _WORDS[401]
    if _DISABLED.search(said):
        return "the account or its key is disabled"
    if _TOO_LONG.search(said):
        return "the prompt is too long for the model"
    if _SCHEMA.search(said):
        return "the provider does not take the output schema"
    if _PARAMETER.search(said):
        return "the provider does not take a parameter"
    if _BLANK.search(said):
        return "a turn of the prompt is blank"
    return _WORDS.get(status, "the provider refuses the request")


def _body(body: bytes) -> tuple[Json, bool]:
    """Return an error's body, and whether it is one that a provider's API writes."""
    try:
        value = parse(body)
    except NotJson:
        return page_text(body), False
    return value, read_error(value).known


def _waits(told: str) -> list[float]:
    """Return what a Retry-After asks for: seconds, a date, or several seconds joined by commas."""
    seconds = [_number(each) for each in told.split(",")]
    if None in seconds:
        seconds = [_until(told)]
    return [each for each in seconds if each is not None]


def _until(told: str) -> float | None:
    """Return in how many seconds an HTTP date is reached."""
    try:
        moment = email.utils.parsedate_to_datetime(told)
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
