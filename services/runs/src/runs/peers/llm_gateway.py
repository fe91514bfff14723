"""The llm-gateway: generations, and what they used and cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nagaya.artifacts.v1 import artifact_pb2
from nagaya.llm_gateway.v1 import (
    call_pb2,
    call_service_pb2,
    call_service_pb2_grpc,
    generation_pb2,
    generation_service_pb2,
    generation_service_pb2_grpc,
    model_pb2,
)
from nagaya_functions import FilePointer
from runs.domain.events import StepText
from runs.domain.failures import StepImpossible
from runs.domain.generation import (
    CallUsage,
    FinishReason,
    GenerationRequest,
    GenerationResult,
    RunUsage,
    TokenUsage,
)
from runs.domain.models import ModelFault
from runs.domain.outputs import CONTENT
from runs.wire.models import model_choice_message
from runs.wire.structs import struct, text_beside
from servicekit.errors import Conflict, InvalidInput, NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    import grpc

    from runs.domain.activities import StepRef
    from runs.domain.models import ModelChoice, ModelRequirement

_DOMAIN = "llm_gateway.nagaya.dev"
_FINISH_REASONS = {
    call_pb2.FINISH_REASON_STOP: FinishReason.STOP,
    call_pb2.FINISH_REASON_LENGTH: FinishReason.LENGTH,
    call_pb2.FINISH_REASON_TRUNCATED_BY_REASONING: FinishReason.LENGTH,
    call_pb2.FINISH_REASON_REFUSAL: FinishReason.REFUSAL,
}


class LlmGateway:
    """Calls the llm-gateway for the tenant and person of the call being served."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._generations = generation_service_pb2_grpc.GenerationServiceStub(channel)
        self._calls = call_service_pb2_grpc.CallServiceStub(channel)

    async def generate(self, request: GenerationRequest) -> GenerationResult:
        """Ask a model; the same step is answered once, however often it asks."""
        message = generation_service_pb2.GenerateRequest(
            tenant_id=request.ref.tenant_id,
            spec=_spec(request),
            include_reply=True,
            files=request.files,
        )
        response = await self._generations.Generate(message)
        call = response.call
        return GenerationResult(
            reply=response.reply,
            digest=call.output_digest,
            file=(
                FilePointer(call.output_path, call.output_digest, CONTENT)
                if call.output_path
                else None
            ),
            finish_reason=_FINISH_REASONS.get(call.finish_reason, FinishReason.UNKNOWN),
            usage=_call_usage(call),
        )

    async def get_reply(self, ref: StepRef, call: int, limit: int) -> bytes:
        """Return the reply to a step's call. Raises StepImpossible if it has more bytes."""
        request = call_service_pb2.GetReplyRequest(tenant_id=ref.tenant_id, key=_key(ref, call))
        body = bytearray()
        async for part in self._calls.GetReply(request):
            body += part.data
            if len(body) > limit:
                raise StepImpossible(
                    "REPLY_TOO_LARGE", f"the reply has more than {limit:,} bytes: ask for less"
                )
        return bytes(body)

    async def watch_call(
        self, ref: StepRef, call: int, offset: int, attempt: int
    ) -> AsyncGenerator[StepText]:
        """Yield the text of a step's call as it grows, until the call ends; nothing without a call.

        It begins at an offset of an attempt's text, as the caller has it.
        """
        request = generation_service_pb2.WatchCallRequest(
            tenant_id=ref.tenant_id, key=_key(ref, call), offset=offset, attempt=attempt
        )
        try:
            async for response in self._generations.WatchCall(request):
                if response.WhichOneof("event") == "delta":
                    delta = response.delta
                    yield StepText(delta.attempt, delta.offset, delta.text)
        except NotFound:
            return

    async def find_model_fault(
        self, tenant_id: str, need: ModelRequirement, chosen: ModelChoice | None
    ) -> ModelFault | None:
        """Return why a step would get no model that can do its work; None when it would get one.

        `chosen` is the run's own choice.
        """
        request = generation_service_pb2.ResolveRequest(
            tenant_id=tenant_id,
            step=need.step,
            model=None if need.model is None else model_choice_message(need.model),
            run_model=None if chosen is None else model_choice_message(chosen),
            needs=generation_service_pb2.ModelNeeds(
                max_output_tokens=need.max_output_tokens, json_schema=need.json_schema
            ),
        )
        try:
            await self._generations.Resolve(request)
        except (Conflict, InvalidInput) as error:
            if isinstance(error, Conflict) and error.domain != _DOMAIN:
                raise  # it says nothing about models: the tenant is suspended
            sentence, _, _ = error.message.partition(". ")  # a hint follows, the same for each step
            return ModelFault(need.step, error.reason, sentence)
        return None

    async def get_call_usage(self, ref: StepRef, call: int) -> CallUsage | None:
        """Return what a step's call has used, whatever came of it; None if it made none."""
        request = call_service_pb2.GetCallRequest(tenant_id=ref.tenant_id, key=_key(ref, call))
        try:
            response = await self._calls.GetCall(request)
        except NotFound:
            return None
        return _call_usage(response.call)

    async def summarize_usage(self, tenant_id: str, run_ids: Sequence[str]) -> tuple[RunUsage, ...]:
        """Return what all calls of some runs, at most 100, have used and cost until now."""
        request = call_service_pb2.SummarizeUsageRequest(tenant_id=tenant_id, run_ids=run_ids)
        response = await self._calls.SummarizeUsage(request)
        return tuple(map(_run_usage, response.run_usages))


def _spec(request: GenerationRequest) -> generation_pb2.GenerationSpec:
    spec = generation_pb2.GenerationSpec(
        key=_key(request.ref, request.call),
        messages=[
            generation_pb2.Message(
                role=generation_pb2.ROLE_USER, parts=[_part(part) for part in request.parts]
            )
        ],
        max_output_tokens=request.max_output_tokens,
        unknown_policy=(
            generation_pb2.UNKNOWN_POLICY_REDO
            if request.redo_unknown
            else generation_pb2.UNKNOWN_POLICY_FAIL
        ),
        allow_empty=request.allow_empty,
    )
    if request.model is not None:
        spec.model.CopyFrom(model_choice_message(request.model))
    if request.run_model is not None:
        spec.run_model.CopyFrom(model_choice_message(request.run_model))
    if request.output_schema is not None:
        spec.output_schema.CopyFrom(struct(request.output_schema))
        spec.output_schema_json = text_beside(request.output_schema)
    return spec


def _part(part: str | FilePointer) -> generation_pb2.Part:
    if isinstance(part, str):
        return generation_pb2.Part(text=part)
    return generation_pb2.Part(
        pointer=artifact_pb2.ArtifactPointer(
            path=part.path, digest=part.digest, json_pointer=part.json_pointer
        )
    )


def _run_usage(sums: call_pb2.RunUsage) -> RunUsage:
    tokens = _tokens(sums.usage)
    return RunUsage(
        sums.run_id,
        tokens.input_tokens,
        tokens.output_tokens,
        sums.cost_micro_usd,
        calls_open=sums.open_calls > 0,
    )


def _tokens(usage: call_pb2.Usage) -> TokenUsage:
    return TokenUsage(
        input_tokens=usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens,
        output_tokens=usage.output_tokens + usage.reasoning_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        reasoning_tokens=usage.reasoning_tokens,
    )


def _key(ref: StepRef, call: int) -> call_pb2.CallKey:
    return call_pb2.CallKey(
        run_id=ref.run_id, step=ref.step, item=ref.item, visit=ref.visit, call=call
    )


def _call_usage(call: call_pb2.Call) -> CallUsage:
    resolution = call.resolution
    rule = model_pb2.ResolutionRule.Name(resolution.rule).removeprefix("RESOLUTION_RULE_")
    return CallUsage(
        llm_model=f"{resolution.provider_id}/{resolution.model_name}",
        model_rule=rule,
        tokens=_tokens(call.usage),
        cost_micro_usd=call.cost_micro_usd,
    )
