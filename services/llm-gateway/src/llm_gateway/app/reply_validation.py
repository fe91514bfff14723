"""Validating a reply: by how it ended, and against the request's output schema."""

from __future__ import annotations

import asyncio
import logging
import re
import traceback
from typing import TYPE_CHECKING

from interceptor.fair_semaphore import FairSemaphore
from jsonvalues import NotJson, parse_strict
from llm_gateway.domain.replies import Reply
from llm_gateway.domain.reply_ends import Verdict, finish_reason
from llm_gateway.domain.schemas import SchemaMismatch
from llm_gateway.domain.usage import FinishReason
from llm_gateway.providers.wire_format import FailureKind, ProviderFault

if TYPE_CHECKING:
    from llm_gateway.app.in_flight import InFlightCall
    from llm_gateway.app.prepare import PreparedCall
    from llm_gateway.domain.requests import CallRequest
    from llm_gateway.domain.schemas import OutputSchema
    from llm_gateway.domain.usage import ReportedUsage
    from llm_gateway.providers.streaming_request import StreamingRequest
    from llm_gateway.providers.wire_format import ReplyEnd

_DECLINED = "the model or its provider declined, and the reply does not fit the schema"
_FAULTS = {
    Verdict.TOOL: (FailureKind.INCOMPLETE, "the model called a tool, which nobody offered"),
    Verdict.PAUSED: (FailureKind.INCOMPLETE, "the model stopped in the middle of its reply"),
    Verdict.UNKNOWN: (FailureKind.INCOMPLETE, "the reply ended in a way that is not known"),
    Verdict.EMPTY: (FailureKind.EMPTY, "the reply is empty"),
    Verdict.FAILED: (FailureKind.UNAVAILABLE, "the provider failed in the middle of the reply"),
    Verdict.BROKEN: (FailureKind.MALFORMED, "the provider could not use what the model said"),
    Verdict.BARRED: (FailureKind.REFUSED, "the account may not use the model"),
}
_FINISH_REASON = re.compile(r"[\w/.-]{1,64}", re.ASCII)
_VALIDATIONS_AT_ONCE = 2
_LONGEST_SECONDS = 60.0
_log = logging.getLogger(__name__)


class SchemaValidator:
    """Validates replies in threads, few at once and one of a tenant.

    A thread that computes shares the interpreter with the event loop: each more slows every call.
    """

    def __init__(self) -> None:
        self._semaphore = FairSemaphore(_VALIDATIONS_AT_ONCE, 1, _LONGEST_SECONDS)

    async def mismatch(self, tenant_id: str, schema: OutputSchema, reply: Reply) -> str:
        """Return why a reply does not fit a schema; empty when it does."""
        permit = await self._semaphore.acquire(tenant_id)
        try:
            return await asyncio.to_thread(_mismatch, schema, reply)
        finally:
            permit.release()


async def validate_reply(
    in_flight: InFlightCall,
    prepared: PreparedCall,
    sent: StreamingRequest,
    used: ReportedUsage,
    validator: SchemaValidator,
) -> Reply:
    """Return the reply that was received. Raises ProviderFault when it cannot be used.

    An unexpected error is a ProviderFault too: the reply is there and paid for, so that a defect
    here does not make the attempt's outcome unknown.
    """
    try:
        return await _validate(in_flight, prepared, sent, used, validator)
    except ProviderFault:
        raise
    except Exception as error:
        kind = type(error).__name__
        frames = traceback.extract_tb(error.__traceback__)[-3:]
        where = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
        _log.error(
            "a reply cannot be used",
            extra={"event": "reply.validation_failed", "why": kind, "where": where},
        )
        message = f"the reply cannot be used: {kind}"
        raise ProviderFault(FailureKind.MALFORMED, message, status=sent.status) from None


async def _validate(
    in_flight: InFlightCall,
    prepared: PreparedCall,
    sent: StreamingRequest,
    used: ReportedUsage,
    validator: SchemaValidator,
) -> Reply:
    request, model = in_flight.request, prepared.route.model
    end = sent.end(in_flight.text)
    _refuse_incomplete(end, request, sent)
    reply = Reply(
        text=in_flight.text,
        finish_reason=_finish_reason(end, used, request, prepared),
        usage=used.usage,
        provider_id=model.provider_id,
        model_id=model.id,
        structured=request.output_schema is not None,
        usage_note=used.doubt,
        unreadable=sent.unreadable,
    )
    if request.output_schema is None:
        return reply
    problem = await validator.mismatch(request.tenant_id, request.output_schema, reply)
    if not problem:
        return reply
    if reply.finish_reason.cut_off:
        raise _cut(reply, request, prepared, end, sent)
    if reply.finish_reason is FinishReason.REFUSAL:
        raise _fault(FailureKind.DECLINED, _DECLINED, end, sent)
    fault = _fault(FailureKind.MALFORMED, problem, end, sent)
    fault.final = True  # whole and paid: another attempt is for the caller to decide
    raise fault


def _refuse_incomplete(end: ReplyEnd, request: CallRequest, sent: StreamingRequest) -> None:
    """Raise ProviderFault for a reply that is not complete, whether it fits the schema or not."""
    if end.verdict is Verdict.EMPTY and request.allow_empty and request.output_schema is None:
        return
    if end.verdict in _FAULTS:
        kind, message = _FAULTS[end.verdict]
        if end.verdict is Verdict.EMPTY and end.reasoning:
            message = "the reply holds reasoning and nothing else"
        word = end.word if _FINISH_REASON.fullmatch(end.word) else "a word of its own"
        raise _fault(kind, f"{message} ({word})", end, sent)


def _fault(kind: FailureKind, message: str, end: ReplyEnd, sent: StreamingRequest) -> ProviderFault:
    fault = ProviderFault(kind, message, status=sent.status)
    fault.provider_error = end.provider_error
    return fault


def _mismatch(schema: OutputSchema, reply: Reply) -> str:
    try:
        schema.check(parse_strict(reply.json, names_once=False))
    except NotJson:
        return f"the reply is no JSON ({reply.finish_reason})"
    except SchemaMismatch as error:
        return f"the reply does not fit the schema: {error}"
    return ""


def _cut(
    reply: Reply,
    request: CallRequest,
    prepared: PreparedCall,
    end: ReplyEnd,
    sent: StreamingRequest,
) -> ProviderFault:
    """Return the fault of a reply that a token limit cut off, so that it does not fit."""
    usage, limit = reply.usage, prepared.prompt.max_output_tokens
    if end.verdict is Verdict.FULL:
        why = "the model's context is full, so that a larger max_output_tokens is no help"
    elif reply.finish_reason is FinishReason.TRUNCATED_BY_REASONING:
        why = f"reasoning used {usage.reasoning_tokens:,} of the {limit:,} that were allowed"
    elif limit < prepared.route.model.capabilities.max_output_tokens:
        why = f"max_output_tokens is {request.max_output_tokens:,}"
        why += f", and {limit - request.max_output_tokens:,} more were allowed for reasoning"
    else:
        why = f"the model may say no more than {limit:,}"
    message = f"the reply was cut off after {usage.reply_tokens:,} tokens: {why}"
    fault = _fault(FailureKind.CUT, message, end, sent)
    fault.cut_at_tokens = limit
    return fault


def _finish_reason(
    end: ReplyEnd, used: ReportedUsage, request: CallRequest, prepared: PreparedCall
) -> FinishReason:
    reason, usage = finish_reason(end.verdict), used.usage
    visible = request.max_output_tokens or prepared.route.model.capabilities.max_output_tokens
    if reason is FinishReason.LENGTH and usage.reasoning_tokens and usage.output_tokens < visible:
        return FinishReason.TRUNCATED_BY_REASONING
    return reason
