"""One attempt: from a prompt to a reply that can be stored, or to a fault, with what it cost."""

from __future__ import annotations

import hashlib
import logging
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llm_gateway.app.reply_checks import Asked, checked
from llm_gateway.domain.calls import CallState, Ending, Useless
from llm_gateway.domain.provider_errors import ProviderError
from llm_gateway.domain.usage import ReportedUsage, Usage, estimated_tokens
from llm_gateway.providers.wire_format import Fault, ProviderFault
from servicekit import telemetry
from servicekit.call import current_call
from servicekit.times import now

if TYPE_CHECKING:
    from datetime import datetime

    from llm_gateway.app.flights import Flight
    from llm_gateway.app.reply_checks import SchemaChecks
    from llm_gateway.domain.calls import Plan
    from llm_gateway.domain.replies import Reply
    from llm_gateway.domain.requests import Prompt
    from llm_gateway.providers.exchange import Exchange
    from llm_gateway.providers.http import Line
    from llm_gateway.routing.rules import Route

GIVEN_UP = "the gateway gave it up"
_HEARD = (
    Fault.LOST,
    Fault.MALFORMED,
    Fault.CUT,
    Fault.DECLINED,
    Fault.INCOMPLETE,
    Fault.EMPTY,
)
"""Faults of replies, which cost something; the others are refusals, unless text or usage came."""
_USELESS = {Fault.INCOMPLETE: Useless.INCOMPLETE, Fault.EMPTY: Useless.EMPTY}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Journey:
    """All that is settled before anything is sent."""

    route: Route
    line: Line
    prompt: Prompt
    plan: Plan


@dataclass(frozen=True, slots=True)
class Heard:
    """A whole reply, which fits what was asked for."""

    reply: Reply
    ending: Ending


@dataclass(frozen=True, slots=True)
class Failed:
    """An attempt without a reply that can be used."""

    fault: ProviderFault
    ending: Ending


async def make(
    flight: Flight, journey: Journey, number: int, checks: SchemaChecks
) -> Heard | Failed:
    """Send one request and hear its reply out."""
    begun = now()
    exchange = journey.line.exchange(journey.prompt, f"{flight.order.key}/{number}")
    flight.begin(number)
    flight.spend = lambda: _spent(flight, journey, exchange, begun)
    try:
        async with aclosing(exchange.texts()) as texts:
            async for text in texts:
                flight.hear(text)
        used = _used(flight, journey, exchange)
        order, limit = flight.order, journey.prompt.max_output_tokens
        asked = Asked(order.tenant_id, order.spec, journey.route.model, limit)
        reply = await checked(flight.text, asked, exchange, used, checks)
    except ProviderFault as fault:
        told, fault.told = fault.told, ProviderError()
        # Whatever ends this task while the provider's words are looked through.
        flight.ending = _failure(flight, journey, exchange, fault, begun)
        fault.told = await journey.line.scrubbed(told, journey.prompt, flight.text)
        outcome = Failed(fault, _failure(flight, journey, exchange, fault, begun))
    except BaseException:
        lost = ProviderFault(Fault.LOST, GIVEN_UP, status=exchange.status)
        flight.ending = _failure(flight, journey, exchange, lost, begun)
        raise
    else:
        ending = _ending(journey, exchange, used, begun)
        flight.ending = ending
        told = exchange.end(flight.text).told
        told = await journey.line.scrubbed(told, journey.prompt, flight.text)
        outcome = Heard(reply, replace(ending, told=told))
        flight.reply = reply
    flight.ending = outcome.ending
    _report(journey, outcome, begun)
    return outcome


def _used(
    flight: Flight, journey: Journey, exchange: Exchange, *, whole: bool = True
) -> ReportedUsage:
    """Return what was used, estimated where the provider did not say."""
    heard = estimated_tokens(len(flight.text.encode()))
    return exchange.usage.completed(journey.plan.estimated_tokens, heard, whole=whole)


def _spent(
    flight: Flight, journey: Journey, exchange: Exchange, begun: datetime
) -> tuple[Usage, int]:
    """Return what a request under way has used and cost so far, estimated."""
    usage = _used(flight, journey, exchange, whole=False).usage
    return usage, journey.route.price(begun, usage).rates.cost(usage)


def _ending(journey: Journey, exchange: Exchange, used: ReportedUsage, begun: datetime) -> Ending:
    price = journey.route.price(begun, used.usage)
    return Ending(
        state=CallState.SETTLED,
        price_id=price.id,
        usage=used.usage,
        cost_micro_usd=price.rates.cost(used.usage),
        estimated=bool(used.doubt),
        note="; ".join(filter(None, (used.doubt, exchange.note))),
        http_status=exchange.status,
        provider_request_id=exchange.request_id,
    )


def _failure(
    flight: Flight, journey: Journey, exchange: Exchange, fault: ProviderFault, begun: datetime
) -> Ending:
    """Return what a failed attempt cost: as told, and estimated where it was cut short.

    The fault's words then say what the provider calls it; what it told is scrubbed before.
    """
    names = [fault.told.code or fault.told.type, fault.told.param]
    if any(names):
        fault.words += f" ({', '.join(filter(None, names))})"
    used = exchange.usage
    lost = fault.fault is Fault.LOST
    heard = fault.fault in _HEARD or bool(flight.text)
    heard = lost or (heard and exchange.status < 300)  # a refusal of HTTP's costs nothing
    if heard or used.usage != Usage():
        used = _used(flight, journey, exchange, whole=exchange.ended)
    ending = _ending(journey, exchange, used, begun)
    again = fault.fault is Fault.MALFORMED and exchange.ended
    return replace(
        ending,
        state=CallState.UNKNOWN if lost else CallState.FAILED,
        error=fault.words[:500],
        told=fault.told,
        cut_at_tokens=fault.cut_at_tokens,
        reply_refused=fault.fault is Fault.DECLINED,
        useless=_USELESS.get(fault.fault),
        reply_digest=_digest(flight.text) if again else "",
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _report(journey: Journey, outcome: Heard | Failed, begun: datetime) -> None:
    """Log a failed attempt, and put either into a span; never what was asked or said."""
    ending, chosen = outcome.ending, journey.route.resolution
    facts: dict[str, str | int] = {
        "gen_ai.provider.name": chosen.provider_id,
        "gen_ai.request.model": chosen.model_name,
        "gen_ai.usage.input_tokens": ending.usage.prompt_tokens,
        "gen_ai.usage.cache_read.input_tokens": ending.usage.cache_read_tokens,
        "gen_ai.usage.output_tokens": ending.usage.output_tokens + ending.usage.reasoning_tokens,
        "http.response.status_code": ending.http_status,
    }
    if isinstance(outcome, Failed):
        facts["error.type"] = outcome.fault.fault
        _log.warning("an attempt failed", extra={**facts, "why": ending.error})
    tracer, call = telemetry.tracer(), current_call()
    if tracer is not None:
        parent = telemetry.context_of(None if call is None else call.traceparent)
        began = int(begun.timestamp() * 1e9)
        span = tracer.start_span(
            f"chat {chosen.model_name}", context=parent, attributes=facts, start_time=began
        )
        span.end()
