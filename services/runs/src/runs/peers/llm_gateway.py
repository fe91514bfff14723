"""The llm-gateway."""

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
from runs.domain.generation import Answer, Ending, Question, RunUsage, Spent, Usage
from runs.domain.models import ModelFault
from runs.domain.outputs import CONTENT, FilePointer
from runs.wire.models import model_choice_message
from runs.wire.structs import struct, text_beside
from servicekit.errors import Conflict, InvalidInput, NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    import grpc

    from runs.domain.models import ModelChoice, ModelNeed
    from runs.domain.work import Work

_DOMAIN = "llm_gateway.nagaya.dev"
_CALL = 1
"""A step asks once; each of its attempts asks with the same key."""
_ENDINGS = {
    call_pb2.FINISH_REASON_STOP: Ending.DONE,
    call_pb2.FINISH_REASON_LENGTH: Ending.CUT,
    call_pb2.FINISH_REASON_TRUNCATED_BY_REASONING: Ending.CUT,
    call_pb2.FINISH_REASON_REFUSAL: Ending.REFUSED,
}


class LlmGateway:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._generations = generation_service_pb2_grpc.GenerationServiceStub(channel)
        self._calls = call_service_pb2_grpc.CallServiceStub(channel)

    async def ask(self, question: Question) -> Answer:
        """Ask a model; the same piece of work is answered once, however often it asks."""
        request = generation_service_pb2.GenerateRequest(
            tenant_id=question.work.tenant_id, spec=_spec(question)
        )
        response = await self._generations.Generate(request)
        call = response.call
        reply = FilePointer(call.output_path, call.output_digest, CONTENT)
        return Answer(reply, _ENDINGS.get(call.finish_reason, Ending.UNKNOWN), _spent(call))

    async def find_fault(
        self, tenant_id: str, need: ModelNeed, chosen: ModelChoice | None
    ) -> ModelFault | None:
        """Tell why a step would get no model that can do its work; None when it would get one.

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

    async def spent(self, work: Work) -> Spent | None:
        """Return what a piece of work has spent, whatever came of it; None if it asked nobody."""
        request = call_service_pb2.GetCallRequest(tenant_id=work.tenant_id, key=_key(work))
        try:
            response = await self._calls.GetCall(request)
        except NotFound:
            return None
        return _spent(response.call)

    async def sums(self, tenant_id: str, run_ids: Sequence[str]) -> tuple[RunUsage, ...]:
        """Return what all calls of some runs, at most 100, have used and cost until now."""
        request = call_service_pb2.SummarizeUsageRequest(tenant_id=tenant_id, run_ids=run_ids)
        response = await self._calls.SummarizeUsage(request)
        return tuple(map(_run_usage, response.run_usages))


def _spec(question: Question) -> generation_pb2.GenerationSpec:
    spec = generation_pb2.GenerationSpec(
        key=_key(question.work),
        messages=[
            generation_pb2.Message(
                role=generation_pb2.ROLE_USER, parts=[_part(part) for part in question.parts]
            )
        ],
        max_output_tokens=question.max_output_tokens,
        unknown_policy=(
            generation_pb2.UNKNOWN_POLICY_REDO
            if question.redo_unknown
            else generation_pb2.UNKNOWN_POLICY_FAIL
        ),
        allow_empty=question.allow_empty,
    )
    if question.model is not None:
        spec.model.CopyFrom(model_choice_message(question.model))
    if question.run_model is not None:
        spec.run_model.CopyFrom(model_choice_message(question.run_model))
    if question.output_schema is not None:
        spec.output_schema.CopyFrom(struct(question.output_schema))
        spec.output_schema_json = text_beside(question.output_schema)
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
    used = _usage(sums.usage)
    return RunUsage(
        sums.run_id,
        used.input_tokens,
        used.output_tokens,
        sums.cost_micro_usd,
        calls_open=sums.open_calls > 0,
    )


def _usage(usage: call_pb2.Usage) -> Usage:
    return Usage(
        input_tokens=usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens,
        output_tokens=usage.output_tokens + usage.reasoning_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        reasoning_tokens=usage.reasoning_tokens,
    )


def _key(work: Work) -> call_pb2.CallKey:
    return call_pb2.CallKey(
        run_id=work.run_id, step=work.step, item=work.item, visit=work.visit, call=_CALL
    )


def _spent(call: call_pb2.Call) -> Spent:
    resolution = call.resolution
    rule = model_pb2.ResolutionRule.Name(resolution.rule).removeprefix("RESOLUTION_RULE_")
    return Spent(
        llm_model=f"{resolution.provider_id}/{resolution.model_name}",
        model_rule=rule,
        usage=_usage(call.usage),
        cost_micro_usd=call.cost_micro_usd,
    )
