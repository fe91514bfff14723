"""One attempt: sends a prepared call once; the result is a reply or a fault, with what it cost."""

from __future__ import annotations

import hashlib
import logging
import time
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llm_gateway.app.reply_validation import validate_reply
from llm_gateway.domain.attempts import AttemptResult, CallState, UnusableReply
from llm_gateway.domain.provider_errors import ProviderError
from llm_gateway.domain.usage import ReportedUsage, Usage, estimated_tokens
from llm_gateway.metrics import attempt_metrics
from llm_gateway.providers.wire_format import FailureKind, ProviderFault
from servicekit import telemetry
from servicekit.call import current_call
from servicekit.times import now

if TYPE_CHECKING:
    from datetime import datetime

    from llm_gateway.app.in_flight import InFlightCall
    from llm_gateway.app.prepare import PreparedCall
    from llm_gateway.app.reply_validation import SchemaValidator
    from llm_gateway.domain.replies import Reply
    from llm_gateway.metrics import AttemptMetrics
    from llm_gateway.providers.streaming_request import StreamingRequest

ABANDONED = "the gateway gave it up"
_REPLY_FAULTS = (
    FailureKind.LOST,
    FailureKind.MALFORMED,
    FailureKind.CUT,
    FailureKind.DECLINED,
    FailureKind.INCOMPLETE,
    FailureKind.EMPTY,
)
"""Faults of replies, which cost something; the others are refusals, unless text or usage came."""
_UNUSABLE = {
    FailureKind.INCOMPLETE: UnusableReply.INCOMPLETE,
    FailureKind.EMPTY: UnusableReply.EMPTY,
}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AttemptSucceeded:
    """A whole reply that is valid for its request."""

    reply: Reply
    result: AttemptResult


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """An attempt without a reply that can be used."""

    fault: ProviderFault
    result: AttemptResult


async def send_attempt(
    in_flight: InFlightCall, prepared: PreparedCall, number: int, validator: SchemaValidator
) -> AttemptSucceeded | AttemptFailed:
    """Send one request, while the call's lease lasts, and receive its reply to the end."""
    begun, sent_at = now(), time.monotonic()
    name = f"{in_flight.request.key}/{number}"
    sent = prepared.client.request(prepared.prompt, name, in_flight.holds_lease)
    in_flight.begin_attempt(number, lambda: _estimate(in_flight, prepared, sent, begun))
    try:
        async with aclosing(sent.texts()) as texts:
            async for text in texts:
                if in_flight.append(text):
                    metrics_of(prepared).first_chunk(time.monotonic() - sent_at)
        usage = _usage(in_flight, prepared, sent)
        reply = await validate_reply(in_flight, prepared, sent, usage, validator)
    except ProviderFault as fault:
        provider_error, fault.provider_error = fault.provider_error, ProviderError()
        # Known from here on, whatever cancels this task while the provider's words are scrubbed.
        in_flight.result = _failure(in_flight, prepared, sent, fault, begun)
        fault.provider_error = await _scrubbed(in_flight, prepared, provider_error)
        outcome = AttemptFailed(fault, _failure(in_flight, prepared, sent, fault, begun))
    except BaseException:
        lost = ProviderFault(FailureKind.LOST, ABANDONED, status=sent.status)
        in_flight.result = _failure(in_flight, prepared, sent, lost, begun)
        raise
    else:
        in_flight.result = result = _success(prepared, sent, usage, begun)
        if sent.provider_error:
            provider_error = await _scrubbed(in_flight, prepared, sent.provider_error)
            result = replace(result, provider_error=provider_error)
        outcome = AttemptSucceeded(reply, result)
        in_flight.reply = reply
    finally:
        in_flight.estimate = None  # it refers to the call, which would be left to the collector
    in_flight.result = outcome.result
    _report(prepared, outcome, begun)
    _measure(prepared, outcome, time.monotonic() - sent_at)
    return outcome


async def _scrubbed(
    in_flight: InFlightCall, prepared: PreparedCall, error: ProviderError
) -> ProviderError:
    return await prepared.client.scrubbed(error, prepared.prompt, in_flight.text)


def _measure(
    prepared: PreparedCall, outcome: AttemptSucceeded | AttemptFailed, seconds: float
) -> None:
    error_type = outcome.fault.kind if isinstance(outcome, AttemptFailed) else ""
    result = outcome.result
    metrics_of(prepared).ended(seconds, error_type, result.usage, result.cost_micro_usd)


def metrics_of(prepared: PreparedCall) -> AttemptMetrics:
    """Return the metrics of the model that a call asks."""
    resolution = prepared.route.resolution
    return attempt_metrics(resolution.provider_id, resolution.model_name)


def _usage(
    in_flight: InFlightCall, prepared: PreparedCall, sent: StreamingRequest, *, whole: bool = True
) -> ReportedUsage:
    """Return what was used, estimated where the provider did not report it."""
    reply_tokens = estimated_tokens(len(in_flight.text.encode()))
    return sent.usage.completed(prepared.reservation.estimated_tokens, reply_tokens, whole=whole)


def _estimate(
    in_flight: InFlightCall, prepared: PreparedCall, sent: StreamingRequest, begun: datetime
) -> tuple[Usage, int]:
    """Return what an attempt in flight has used and cost so far."""
    usage = _usage(in_flight, prepared, sent, whole=False).usage
    return usage, prepared.route.price(begun, usage).rates.cost(usage)


def _success(
    prepared: PreparedCall, sent: StreamingRequest, used: ReportedUsage, begun: datetime
) -> AttemptResult:
    price = prepared.route.price(begun, used.usage)
    return AttemptResult(
        state=CallState.SETTLED,
        price_id=price.id,
        usage=used.usage,
        cost_micro_usd=price.rates.cost(used.usage),
        estimated=bool(used.doubt),
        note="; ".join(filter(None, (used.doubt, sent.note))),
        http_status=sent.status,
        provider_request_id=sent.request_id,
    )


def _failure(
    in_flight: InFlightCall,
    prepared: PreparedCall,
    sent: StreamingRequest,
    fault: ProviderFault,
    begun: datetime,
) -> AttemptResult:
    """Return what a failed attempt cost: as reported, and estimated where it was cut short.

    The fault's message then names the provider's error code; `fault.provider_error` is scrubbed.
    """
    error = fault.provider_error
    names = [error.code or error.type, error.param]
    if any(names):
        fault.message += f" ({', '.join(filter(None, names))})"
    used = sent.usage
    lost = fault.kind is FailureKind.LOST
    replied = fault.kind in _REPLY_FAULTS or bool(in_flight.text)
    costs = lost or (replied and sent.status < 300)  # an HTTP refusal costs nothing
    if costs or used.usage != Usage():
        used = _usage(in_flight, prepared, sent, whole=sent.ended)
    may_repeat = fault.kind is FailureKind.MALFORMED and sent.ended
    digest = hashlib.sha256(in_flight.text.encode()).hexdigest() if may_repeat else ""
    return replace(
        _success(prepared, sent, used, begun),
        state=CallState.UNKNOWN if lost else CallState.FAILED,
        error=fault.message[:500],
        provider_error=error,
        cut_at_tokens=fault.cut_at_tokens,
        reply_refused=fault.kind is FailureKind.DECLINED,
        unusable=_UNUSABLE.get(fault.kind),
        reply_digest=digest,
    )


def _report(
    prepared: PreparedCall, outcome: AttemptSucceeded | AttemptFailed, begun: datetime
) -> None:
    """Log a failed attempt, and put either into a span; never a prompt or a reply."""
    tracer, failed = telemetry.tracer(), isinstance(outcome, AttemptFailed)
    if tracer is None and not failed:
        return
    result, resolution = outcome.result, prepared.route.resolution
    attributes: dict[str, str | int] = {
        "gen_ai.provider.name": resolution.provider_id,
        "gen_ai.request.model": resolution.model_name,
        "gen_ai.usage.input_tokens": result.usage.prompt_tokens,
        "gen_ai.usage.cache_read.input_tokens": result.usage.cache_read_tokens,
        "gen_ai.usage.output_tokens": result.usage.reply_tokens,
        "http.response.status_code": result.http_status,
    }
    if isinstance(outcome, AttemptFailed):
        attributes["error.type"] = outcome.fault.kind
        _log.warning(
            "an attempt failed",
            extra={"event": "llm_call.attempt_failed", **attributes, "why": result.error},
        )
    if tracer is not None:
        call = current_call()
        parent = telemetry.context_of(None if call is None else call.traceparent)
        span = tracer.start_span(
            f"chat {resolution.model_name}",
            context=parent,
            attributes=attributes,
            start_time=int(begun.timestamp() * 1e9),
        )
        span.end()
