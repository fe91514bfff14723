"""Calls of the ledger, as messages."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from llm_gateway.domain.attempts import CallState
from llm_gateway.domain.calls import CallKey
from llm_gateway.domain.usage import FinishReason
from llm_gateway.wire.models import resolution
from nagaya.llm_gateway.v1 import call_pb2 as pb
from servicekit.times import timestamp

if TYPE_CHECKING:
    from llm_gateway.domain.attempts import CallAttempt
    from llm_gateway.domain.calls import LlmCall, RunUsage
    from llm_gateway.domain.provider_errors import ProviderError
    from llm_gateway.domain.usage import Usage

_NUMBERS = {state: pb.CallState.Value(f"CALL_STATE_{state.name}") for state in CallState}
_STATES = {number: state for state, number in _NUMBERS.items()}
_FINISHES = {
    reason: pb.FinishReason.Value(f"FINISH_REASON_{reason.name}")
    for reason in FinishReason
    if reason is not FinishReason.UNKNOWN
}


def key_of(message: pb.CallKey) -> CallKey:
    return CallKey(
        run_id=UUID(message.run_id),
        step=message.step,
        item=message.item,
        visit=message.visit,
        call=message.call,
    )


def key_message(key: CallKey) -> pb.CallKey:
    return pb.CallKey(
        run_id=str(key.run_id), step=key.step, item=key.item, visit=key.visit, call=key.call
    )


def state_of(message: pb.CallState.ValueType) -> CallState | None:
    """Return the state to filter by; None for any."""
    return _STATES.get(message)


def call(call: LlmCall) -> pb.Call:
    message = pb.Call(
        key=key_message(call.key),
        state=_NUMBERS[call.state],
        resolution=resolution(call.resolution),
        request_digest=call.request_digest,
        usage=usage(call.usage),
        cost_micro_usd=call.cost_micro_usd,
        attempts=map(attempt, call.attempts),
        create_time=timestamp(call.created_at),
        end_time=None if call.ended_at is None else timestamp(call.ended_at),
        user_id=call.user_id,
    )
    if call.output is not None:
        message.output_path = call.output.path
        message.output_digest = call.output.digest
        message.summary = call.output.summary
        message.finish_reason = _FINISHES.get(
            call.output.finish_reason, pb.FINISH_REASON_UNSPECIFIED
        )
    return message


def attempt(attempt: CallAttempt) -> pb.CallAttempt:
    return pb.CallAttempt(
        attempt=attempt.number,
        state=_NUMBERS[attempt.state],
        provider_request_id=attempt.provider_request_id,
        http_status=attempt.http_status,
        error=attempt.error,
        usage=usage(attempt.usage),
        cost_micro_usd=attempt.cost_micro_usd,
        estimated=attempt.estimated,
        note=attempt.note,
        provider_error=_provider_error(attempt.provider_error) if attempt.provider_error else None,
        dispatch_time=timestamp(attempt.dispatched_at),
        end_time=None if attempt.ended_at is None else timestamp(attempt.ended_at),
    )


def _provider_error(error: ProviderError) -> pb.ProviderError:
    return pb.ProviderError(
        code=error.code, type=error.type, param=error.param, message=error.message
    )


def run_usage(run_id: UUID, usage_of_run: RunUsage | None) -> pb.RunUsage:
    if usage_of_run is None:
        return pb.RunUsage(run_id=str(run_id), usage=pb.Usage())
    return pb.RunUsage(
        run_id=str(run_id),
        calls=usage_of_run.calls,
        open_calls=usage_of_run.open_calls,
        usage=usage(usage_of_run.usage),
        cost_micro_usd=usage_of_run.cost_micro_usd,
    )


def usage(usage: Usage) -> pb.Usage:
    return pb.Usage(
        input_tokens=usage.input_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        output_tokens=usage.output_tokens,
        reasoning_tokens=usage.reasoning_tokens,
    )
