"""Loops on the wire, and the outputs of visits before."""

from __future__ import annotations

from nagaya.runs.v1 import pipeline_pb2 as pb
from runs.domain.loops import Repeat
from runs.domain.pipelines import Output
from servicekit.errors import RequestInvalid, Violation


def repeat(message: pb.RepeatSpec) -> Repeat:
    continues = message.on_limit == pb.VISIT_LIMIT_POLICY_CONTINUE
    return Repeat(message.from_step, message.when, message.max_visits, continues)


def repeat_message(repeat: Repeat) -> pb.RepeatSpec:
    continues, fails = pb.VISIT_LIMIT_POLICY_CONTINUE, pb.VISIT_LIMIT_POLICY_FAIL
    return pb.RepeatSpec(
        from_step=repeat.from_step,
        when=repeat.when,
        max_visits=repeat.max_visits,
        on_limit=continues if repeat.goes_on_at_limit else fails,
    )


def output(message: pb.OutputRef) -> Output:
    return Output(
        message.step,
        message.json_pointer,
        message.previous_visit,
        message.first_visit_step,
        message.first_visit_json_pointer,
    )


def output_message(output: Output) -> pb.OutputRef:
    return pb.OutputRef(
        step=output.step,
        json_pointer=output.json_pointer,
        previous_visit=output.previous_visit,
        first_visit_step=output.first_visit_step,
        first_visit_json_pointer=output.first_visit_json_pointer,
    )


def of_this_visit(message: pb.OutputRef) -> tuple[str, str]:
    """Return the step and the JSON pointer of what is no output of a visit before.

    Raises RequestInvalid if it says that it is.
    """
    if message.previous_visit or message.first_visit_step or message.first_visit_json_pointer:
        fault = f"{message.step}: previous_visit is only for `output` of a binding"
        raise RequestInvalid(f"spec: {fault}", violations=[Violation("spec", fault)])
    return message.step, message.json_pointer
