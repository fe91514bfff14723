"""One attempt: from a prompt to a reply that can be stored, or to a fault, with what it cost."""

from __future__ import annotations

import asyncio
import logging
import re
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from jsonvalues import NotJson, parse_strict
from llm_gateway.domain.calls import CallState, Ending, Useless
from llm_gateway.domain.ends import Verdict, finish_reason
from llm_gateway.domain.replies import Reply
from llm_gateway.domain.schemas import SchemaMismatch
from llm_gateway.domain.usage import FinishReason, ReportedUsage, Usage, estimated_tokens
from llm_gateway.providers.wire_format import Fault, ProviderFault
from servicekit import telemetry
from servicekit.call import current_call
from servicekit.times import now

if TYPE_CHECKING:
    from datetime import datetime

    from llm_gateway.app.flights import Flight
    from llm_gateway.domain.calls import Plan
    from llm_gateway.domain.provider_errors import ProviderError
    from llm_gateway.domain.requests import GenerationSpec, Prompt
    from llm_gateway.domain.schemas import OutputSchema
    from llm_gateway.providers.exchange import Exchange
    from llm_gateway.providers.http import Line
    from llm_gateway.providers.wire_format import Ended
    from llm_gateway.routing.rules import Route

GIVEN_UP = "the gateway gave it up"
DECLINED = "the model or its provider declined, and the reply does not fit the schema"
_HEARD = (
    Fault.LOST,
    Fault.MALFORMED,
    Fault.CUT,
    Fault.DECLINED,
    Fault.INCOMPLETE,
    Fault.EMPTY,
)
"""Faults of replies, which cost something; the others are refusals, unless usage was told."""
_FAULTS = {
    Verdict.TOOL: (Fault.INCOMPLETE, "the model called a tool, which nobody offered"),
    Verdict.PAUSED: (Fault.INCOMPLETE, "the model stopped in the middle of its reply"),
    Verdict.UNKNOWN: (Fault.INCOMPLETE, "the reply ended in a way that is not known"),
    Verdict.EMPTY: (Fault.EMPTY, "the reply is empty"),
    Verdict.FAILED: (Fault.UNAVAILABLE, "the provider failed in the middle of the reply"),
    Verdict.BROKEN: (Fault.MALFORMED, "the provider could not use what the model said"),
    Verdict.BARRED: (Fault.REFUSED, "the account may not use the model"),
}
_USELESS = {Fault.INCOMPLETE: Useless.INCOMPLETE, Fault.EMPTY: Useless.EMPTY}
_WORD = re.compile(r"[\w/.-]{1,64}", re.ASCII)
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


async def make(flight: Flight, journey: Journey, number: int) -> Heard | Failed:
    """Send one request and hear its reply out."""
    begun = now()
    exchange = journey.line.exchange(journey.prompt, f"{flight.order.key}/{number}")
    flight.begin(number)
    try:
        async with aclosing(exchange.texts()) as texts:
            async for text in texts:
                flight.hear(text)
        reply = await _reply(flight, journey, exchange)
    except ProviderFault as fault:
        outcome = Failed(fault, _failure(flight, journey, exchange, fault, begun))
    except BaseException:
        lost = ProviderFault(Fault.LOST, GIVEN_UP, status=exchange.status)
        flight.ending = _failure(flight, journey, exchange, lost, begun)
        raise
    else:
        ending = _ending(journey, exchange, _used(flight, journey, exchange), begun)
        told = _scrubbed(flight, journey, exchange.end(flight.text).told)
        outcome = Heard(reply, replace(ending, told=told))
    flight.ending = outcome.ending
    _report(journey, outcome, begun)
    return outcome


async def _reply(flight: Flight, journey: Journey, exchange: Exchange) -> Reply:
    """Return what was heard. Raises ProviderFault when it is not what was asked for."""
    spec = flight.order.spec
    ended = exchange.end(flight.text)
    _refuse_incomplete(ended, spec, exchange)
    used = _used(flight, journey, exchange)
    told = finish_reason(ended.verdict)
    reply = Reply(
        text=flight.text,
        finish_reason=_finish_reason(told, used.usage, spec, journey.route),
        usage=used.usage,
        provider_id=journey.route.provider.id,
        model_id=journey.route.model.id,
        structured=spec.output_schema is not None,
        usage_note=used.doubt,
        unreadable=exchange.unreadable,
    )
    if spec.output_schema is None:
        return reply
    problem = await asyncio.to_thread(_misfit, spec.output_schema, reply)
    if not problem:
        return reply
    if reply.finish_reason.cut_off:
        raise _cut(reply, spec, journey, ended, exchange)
    declined = reply.finish_reason is FinishReason.REFUSAL
    raise _fault_of(
        Fault.DECLINED if declined else Fault.MALFORMED,
        DECLINED if declined else problem,
        ended,
        exchange,
    )


def _refuse_incomplete(ended: Ended, spec: GenerationSpec, exchange: Exchange) -> None:
    """Raise ProviderFault for a reply that is none, however it would fit."""
    if ended.verdict is Verdict.EMPTY and spec.allow_empty and spec.output_schema is None:
        return
    if ended.verdict in _FAULTS:
        fault, words = _FAULTS[ended.verdict]
        if ended.verdict is Verdict.EMPTY and ended.thought:
            words = "the reply holds reasoning and nothing else"
        raise _fault_of(fault, f"{words} ({_word(ended)})", ended, exchange)


def _fault_of(kind: Fault, words: str, ended: Ended, exchange: Exchange) -> ProviderFault:
    fault = ProviderFault(kind, words, status=exchange.status)
    fault.told = ended.told
    return fault


def _word(ended: Ended) -> str:
    """Return the provider's word for the end, if it is one."""
    return ended.word if _WORD.fullmatch(ended.word) else "a word of its own"


def _misfit(schema: OutputSchema, reply: Reply) -> str:
    """Return why a reply does not fit a schema; empty when it does."""
    try:
        schema.check(parse_strict(reply.json, names_once=False))
    except NotJson:
        return f"the reply is no JSON ({reply.finish_reason})"
    except SchemaMismatch as error:
        return f"the reply does not fit the schema: {error}"
    return ""


def _cut(
    reply: Reply, spec: GenerationSpec, journey: Journey, ended: Ended, exchange: Exchange
) -> ProviderFault:
    """Return the fault of a reply that is no use because a limit cut it off."""
    usage, limit = reply.usage, journey.prompt.max_output_tokens
    can = journey.route.model.capabilities
    if ended.verdict is Verdict.FULL:
        why = "the model's context is full, so that a larger max_output_tokens is no help"
    elif reply.finish_reason is FinishReason.TRUNCATED_BY_REASONING:
        why = f"reasoning used {usage.reasoning_tokens:,} of the {limit:,} that were allowed"
    elif limit < can.max_output_tokens:
        why = f"max_output_tokens is {spec.max_output_tokens:,}"
        why += f", and {limit - spec.max_output_tokens:,} more were allowed for reasoning"
    else:
        why = f"the model may say no more than {limit:,}"
    tokens = usage.output_tokens + usage.reasoning_tokens
    words = f"the reply was cut off after {tokens:,} tokens: {why}"
    fault = _fault_of(Fault.CUT, words, ended, exchange)
    fault.cut_at_tokens = limit
    return fault


def _finish_reason(
    told: FinishReason, usage: Usage, spec: GenerationSpec, route: Route
) -> FinishReason:
    visible = spec.max_output_tokens or route.model.capabilities.max_output_tokens
    if told is FinishReason.LENGTH and usage.reasoning_tokens and usage.output_tokens < visible:
        return FinishReason.TRUNCATED_BY_REASONING
    return told


def _used(
    flight: Flight, journey: Journey, exchange: Exchange, *, whole: bool = True
) -> ReportedUsage:
    """Return what was used, estimated where the provider did not say."""
    heard = estimated_tokens(len(flight.text.encode()))
    return exchange.usage.completed(journey.plan.estimated_tokens, heard, whole=whole)


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

    The fault's words then say what the provider calls it, so far as that may be kept.
    """
    fault.told = _scrubbed(flight, journey, fault.told)
    names = [fault.told.code or fault.told.type, fault.told.param]
    if any(names):
        fault.words += f" ({', '.join(filter(None, names))})"
    used = exchange.usage
    heard = fault.fault in _HEARD and exchange.status < 300  # a refusal of HTTP's costs nothing
    if heard or used.usage != Usage():
        used = _used(flight, journey, exchange, whole=exchange.ended)
    ending = _ending(journey, exchange, used, begun)
    lost = fault.fault is Fault.LOST
    return replace(
        ending,
        state=CallState.UNKNOWN if lost else CallState.FAILED,
        error=fault.words[:500],
        told=fault.told,
        cut_at_tokens=fault.cut_at_tokens,
        reply_refused=fault.fault is Fault.DECLINED,
        useless=_USELESS.get(fault.fault),
    )


def _scrubbed(flight: Flight, journey: Journey, told: ProviderError) -> ProviderError:
    """Return what may be kept of a provider's words."""
    return journey.line.scrubbed(told, journey.prompt, flight.text) if told else told


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
