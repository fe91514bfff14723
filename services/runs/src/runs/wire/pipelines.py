"""Pipelines on the wire, and as the JSON document that is stored: the message in its JSON form."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict, ParseDict

from nagaya.llm_gateway.v1 import generation_pb2
from nagaya.runs.v1 import pipeline_pb2 as pb
from runs.domain.graph_specs import NodeStep
from runs.domain.pipelines import (
    AllowedFailures,
    ApprovalStep,
    BoundValue,
    Element,
    ElementOutput,
    FirstElementOutput,
    FirstOutput,
    FixedText,
    FunctionStep,
    LlmStep,
    Manifest,
    MapSpec,
    Output,
    PipelineSpec,
    Retry,
    StepKind,
    StepSpec,
    VariableBinding,
)
from runs.domain.plan import BACKOFF_MS, MAX_ATTEMPTS, TIMEOUT_SECONDS
from runs.wire import loops
from runs.wire.approvals import approval_step, approval_step_message
from runs.wire.graphs import graph_message, graph_spec
from runs.wire.models import model_choice, model_choice_message
from runs.wire.structs import given_object, struct, text_beside
from servicekit.errors import RequestInvalid, Violation
from servicekit.times import timestamp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jsonvalues import JsonMapping
    from runs.domain.pipelines import PipelineVersion

TEXTS_LIMIT = 512 << 10
"""The most characters of JSON in all steps: they are read on the loop that serves every tenant."""


def pipeline_spec(message: pb.PipelineSpec) -> PipelineSpec:
    """Return what a message says. Raises RequestInvalid and ValueUnstorable."""
    texts = sum(
        len(step.llm.output_schema_json) + len(step.function.arguments_json)
        for step in message.steps
    )
    if texts > TEXTS_LIMIT:
        fault = f"its JSON texts have {texts:,} characters, at most {TEXTS_LIMIT:,} are possible"
        raise RequestInvalid(f"spec: {fault}", violations=[Violation("spec", fault)])
    steps = enumerate(message.steps)
    return PipelineSpec(
        tuple(_step(f"spec.steps[{n}]", step) for n, step in steps),
        graph_spec(message.graph) if message.HasField("graph") else None,
        message.task_queue,
    )


def pipeline_version(version: PipelineVersion) -> pb.PipelineVersion:
    return pb.PipelineVersion(
        pipeline=version.pipeline,
        version=version.version,
        spec=_spec_message(version.spec),
        digest=version.digest,
        plan_size_bytes=version.plan_size_bytes,
        create_time=timestamp(version.create_time),
    )


def document(spec: PipelineSpec) -> JsonMapping:
    """Return a spec as JSON: equal specs, equal documents."""
    return MessageToDict(_spec_message(spec), preserving_proto_field_name=True)


def from_document(content: JsonMapping) -> PipelineSpec:
    """Return the spec that `document` was called with."""
    return pipeline_spec(ParseDict(dict(content), pb.PipelineSpec(), ignore_unknown_fields=True))


def _step(at: str, message: pb.StepSpec) -> StepSpec:
    return StepSpec(
        step=message.step,
        needs=tuple(message.needs),
        kind=_kind(at, message),
        map=_map(message.map) if message.HasField("map") else None,
        when=message.when,
        timeout_seconds=-(-_milliseconds(message.timeout) // 1000) or TIMEOUT_SECONDS,
        retry=Retry(
            max_attempts=message.retry.max_attempts or MAX_ATTEMPTS,
            backoff_ms=_milliseconds(message.retry.backoff) or BACKOFF_MS,
        ),
        metrics=dict(message.metrics),
        values=dict(message.values),
        repeat=loops.repeat(message.repeat) if message.HasField("repeat") else None,
    )


def _kind(at: str, message: pb.StepSpec) -> StepKind:
    match message.WhichOneof("kind"):
        case "llm":
            return _llm(f"{at}.llm", message.llm)
        case "function":
            return _function(f"{at}.function", message.function)
        case "node":
            return NodeStep()
        case _:
            if message.HasField("timeout"):
                fault = "a step that asks a person has the timeout in `approval`"
                violation = Violation(f"{at}.timeout", fault)
                raise RequestInvalid(f"{at}.timeout: {fault}", violations=[violation])
            return approval_step(message.approval)


def _llm(at: str, message: pb.LlmStep) -> LlmStep:
    return LlmStep(
        prompt_version=message.prompt_version,
        bindings=tuple(VariableBinding(each.variable, _value(each)) for each in message.bindings),
        model=model_choice(message.model) if message.HasField("model") else None,
        output_schema=_schema(at, message),
        max_output_tokens=message.max_output_tokens,
        redo_unknown=message.unknown_policy == generation_pb2.UNKNOWN_POLICY_REDO,
        allow_empty=message.allow_empty,
        prompt=message.prompt,
        prompt_label=message.prompt_label,
    )


def _schema(at: str, message: pb.LlmStep) -> JsonMapping | None:
    if not message.output_schema_json and not message.HasField("output_schema"):
        return None
    text = message.output_schema_json
    return given_object(text, message.output_schema, f"{at}.output_schema_json")


def _function(at: str, message: pb.FunctionStep) -> FunctionStep:
    arguments = given_object(message.arguments_json, message.arguments, f"{at}.arguments_json")
    return FunctionStep(
        message.function,
        arguments,
        message.short,
        tuple(message.element_outputs),
        tuple(message.manifests),
        tuple(message.previous_visits),
    )


def _map(message: pb.MapSpec) -> MapSpec:
    allowed = AllowedFailures(message.allow_failed, message.allow_failed_percent)
    return MapSpec(message.step, message.json_pointer, message.when, allowed, message.parallel)


def _value(message: pb.Binding) -> BoundValue:
    match message.WhichOneof("value"):
        case "output":
            return loops.output(message.output)
        case "element":
            return Element(message.element.json_pointer)
        case "element_output":
            return ElementOutput(*loops.of_this_visit(message.element_output))
        case "first_output":
            outputs = message.first_output.outputs
            return FirstOutput(tuple(Output(*loops.of_this_visit(each)) for each in outputs))
        case "first_element_output":
            outputs = message.first_element_output.outputs
            return FirstElementOutput(
                tuple(ElementOutput(*loops.of_this_visit(each)) for each in outputs)
            )
        case "manifest":
            return Manifest(*loops.of_this_visit(message.manifest))
        case _:
            return FixedText(message.text)


def _milliseconds(duration: Duration) -> int:
    return duration.ToMilliseconds()


def _spec_message(spec: PipelineSpec) -> pb.PipelineSpec:
    return pb.PipelineSpec(
        steps=map(_step_message, spec.steps),
        graph=None if spec.graph is None else graph_message(spec.graph),
        task_queue=spec.task_queue,
    )


def _step_message(step: StepSpec) -> pb.StepSpec:
    message = pb.StepSpec(
        step=step.step,
        needs=step.needs,
        when=step.when,
        retry=pb.RetryPolicy(
            max_attempts=step.retry.max_attempts,
            backoff=_duration(step.retry.backoff_ms),
        ),
        metrics=step.metrics,
        values=step.values,
    )
    match step.kind:
        case LlmStep():
            message.llm.CopyFrom(_llm_message(step.kind))
        case FunctionStep():
            message.function.CopyFrom(_function_message(step.kind))
        case NodeStep():
            message.node.SetInParent()
        case ApprovalStep():
            message.approval.CopyFrom(approval_step_message(step.kind))
    if not isinstance(step.kind, ApprovalStep):
        message.timeout.FromSeconds(step.timeout_seconds)
    if step.repeat is not None:
        message.repeat.CopyFrom(loops.repeat_message(step.repeat))
    if step.map is not None:
        message.map.CopyFrom(_map_message(step.map))
    return message


def _map_message(over: MapSpec) -> pb.MapSpec:
    message = pb.MapSpec(step=over.step, json_pointer=over.json_pointer, when=over.when)
    message.parallel = over.parallel
    if over.allowed.count:
        message.allow_failed = over.allowed.count
    if over.allowed.percent:
        message.allow_failed_percent = over.allowed.percent
    return message


def _llm_message(llm: LlmStep) -> pb.LlmStep:
    schema = llm.output_schema
    redo = generation_pb2.UNKNOWN_POLICY_REDO
    fail = generation_pb2.UNKNOWN_POLICY_FAIL
    return pb.LlmStep(
        prompt_version=llm.prompt_version,
        bindings=map(_binding_message, llm.bindings),
        model=None if llm.model is None else model_choice_message(llm.model),
        output_schema=None if schema is None else struct(schema),
        output_schema_json="" if schema is None else text_beside(schema),
        max_output_tokens=llm.max_output_tokens,
        unknown_policy=redo if llm.redo_unknown else fail,
        allow_empty=llm.allow_empty,
        prompt=llm.prompt,
        prompt_label=llm.prompt_label,
    )


def _function_message(function: FunctionStep) -> pb.FunctionStep:
    return pb.FunctionStep(
        function=function.function,
        arguments=struct(function.arguments),
        arguments_json=text_beside(function.arguments),
        short=function.short,
        element_outputs=function.element_outputs,
        manifests=function.manifests,
        previous_visits=function.previous_visits,
    )


def _binding_message(binding: VariableBinding) -> pb.Binding:
    message = pb.Binding(variable=binding.variable)
    match binding.value:
        case FixedText(text):
            message.text = text
        case Output() as output:
            message.output.CopyFrom(loops.output_message(output))
        case Element(json_pointer):
            message.element.CopyFrom(pb.ElementRef(json_pointer=json_pointer))
        case ElementOutput(step, json_pointer):
            message.element_output.CopyFrom(pb.OutputRef(step=step, json_pointer=json_pointer))
        case FirstOutput(outputs):
            message.first_output.CopyFrom(_first_output(outputs))
        case FirstElementOutput(outputs):
            message.first_element_output.CopyFrom(_first_output(outputs))
        case Manifest(step, json_pointer):
            message.manifest.CopyFrom(pb.OutputRef(step=step, json_pointer=json_pointer))
        case _:
            assert_never(binding.value)
    return message


def _first_output(outputs: Sequence[Output | ElementOutput]) -> pb.FirstOutput:
    refs = (pb.OutputRef(step=each.step, json_pointer=each.json_pointer) for each in outputs)
    return pb.FirstOutput(outputs=refs)


def _duration(milliseconds: int) -> Duration:
    duration = Duration()
    duration.FromMilliseconds(milliseconds)
    return duration
