"""Whether a reply is what was asked for: by its end, and by the schema."""

from __future__ import annotations

import asyncio
import logging
import re
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

from interceptor.fair_semaphore import FairSemaphore
from jsonvalues import NotJson, parse_strict
from llm_gateway.domain.ends import Verdict, finish_reason
from llm_gateway.domain.replies import Reply
from llm_gateway.domain.schemas import SchemaMismatch
from llm_gateway.domain.usage import FinishReason
from llm_gateway.providers.wire_format import Fault, ProviderFault

if TYPE_CHECKING:
    from llm_gateway.domain.models import Model
    from llm_gateway.domain.requests import GenerationSpec
    from llm_gateway.domain.schemas import OutputSchema
    from llm_gateway.domain.usage import ReportedUsage, Usage
    from llm_gateway.providers.exchange import Exchange
    from llm_gateway.providers.wire_format import Ended

DECLINED = "the model or its provider declined, and the reply does not fit the schema"
_FAULTS = {
    Verdict.TOOL: (Fault.INCOMPLETE, "the model called a tool, which nobody offered"),
    Verdict.PAUSED: (Fault.INCOMPLETE, "the model stopped in the middle of its reply"),
    Verdict.UNKNOWN: (Fault.INCOMPLETE, "the reply ended in a way that is not known"),
    Verdict.EMPTY: (Fault.EMPTY, "the reply is empty"),
    Verdict.FAILED: (Fault.UNAVAILABLE, "the provider failed in the middle of the reply"),
    Verdict.BROKEN: (Fault.MALFORMED, "the provider could not use what the model said"),
    Verdict.BARRED: (Fault.REFUSED, "the account may not use the model"),
}
_WORD = re.compile(r"[\w/.-]{1,64}", re.ASCII)
_SCHEMAS_AT_ONCE = 2
_LONGEST_SECONDS = 60.0
_log = logging.getLogger(__name__)


class SchemaChecks:
    """Holds replies to their schemas in threads, few at once and one of a tenant.

    A thread that computes takes turns with the loop: each one more makes every call slower.
    """

    def __init__(self) -> None:
        self._semaphore = FairSemaphore(_SCHEMAS_AT_ONCE, 1, _LONGEST_SECONDS)

    async def misfit(self, tenant_id: str, schema: OutputSchema, reply: Reply) -> str:
        """Return why a reply does not fit a schema; empty when it does."""
        permit = await self._semaphore.acquire(tenant_id)
        try:
            return await asyncio.to_thread(_misfit, schema, reply)
        finally:
            permit.release()


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked of which model, as far as its reply is measured by it."""

    tenant_id: str
    spec: GenerationSpec
    model: Model
    limit: int
    """The limit on output tokens, reasoning included."""


async def checked(
    text: str, asked: Asked, exchange: Exchange, used: ReportedUsage, checks: SchemaChecks
) -> Reply:
    """Return a reply. Raises ProviderFault when it is not what was asked for.

    That is raised also where nobody expected an error: the reply is there and paid for, so that
    what cannot be done with it is no unknown outcome.
    """
    try:
        return await _reply(text, asked, exchange, used, checks)
    except ProviderFault:
        raise
    except Exception as error:
        kind = type(error).__name__
        frames = traceback.extract_tb(error.__traceback__)[-3:]
        where = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
        _log.error("a reply cannot be used", extra={"why": kind, "where": where})
        words = f"the reply cannot be used: {kind}"
        raise ProviderFault(Fault.MALFORMED, words, status=exchange.status) from None


async def _reply(
    text: str, asked: Asked, exchange: Exchange, used: ReportedUsage, checks: SchemaChecks
) -> Reply:
    ended, spec = exchange.end(text), asked.spec
    _refuse_incomplete(ended, spec, exchange)
    told = finish_reason(ended.verdict)
    reply = Reply(
        text=text,
        finish_reason=_finish_reason(told, used.usage, asked),
        usage=used.usage,
        provider_id=asked.model.provider_id,
        model_id=asked.model.id,
        structured=spec.output_schema is not None,
        usage_note=used.doubt,
        unreadable=exchange.unreadable,
    )
    if spec.output_schema is None:
        return reply
    problem = await checks.misfit(asked.tenant_id, spec.output_schema, reply)
    if not problem:
        return reply
    if reply.finish_reason.cut_off:
        raise _cut(reply, asked, ended, exchange)
    if reply.finish_reason is FinishReason.REFUSAL:
        raise _fault_of(Fault.DECLINED, DECLINED, ended, exchange)
    misfit = _fault_of(Fault.MALFORMED, problem, ended, exchange)
    misfit.final = True  # whole, and paid: whoever wants to pay for another asks again
    raise misfit


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


def _cut(reply: Reply, asked: Asked, ended: Ended, exchange: Exchange) -> ProviderFault:
    """Return the fault of a reply that is no use because a limit cut it off."""
    usage, spec, limit = reply.usage, asked.spec, asked.limit
    if ended.verdict is Verdict.FULL:
        why = "the model's context is full, so that a larger max_output_tokens is no help"
    elif reply.finish_reason is FinishReason.TRUNCATED_BY_REASONING:
        why = f"reasoning used {usage.reasoning_tokens:,} of the {limit:,} that were allowed"
    elif limit < asked.model.capabilities.max_output_tokens:
        why = f"max_output_tokens is {spec.max_output_tokens:,}"
        why += f", and {limit - spec.max_output_tokens:,} more were allowed for reasoning"
    else:
        why = f"the model may say no more than {limit:,}"
    tokens = usage.output_tokens + usage.reasoning_tokens
    words = f"the reply was cut off after {tokens:,} tokens: {why}"
    fault = _fault_of(Fault.CUT, words, ended, exchange)
    fault.cut_at_tokens = limit
    return fault


def _finish_reason(told: FinishReason, usage: Usage, asked: Asked) -> FinishReason:
    visible = asked.spec.max_output_tokens or asked.model.capabilities.max_output_tokens
    if told is FinishReason.LENGTH and usage.reasoning_tokens and usage.output_tokens < visible:
        return FinishReason.TRUNCATED_BY_REASONING
    return told
