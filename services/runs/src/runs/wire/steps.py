"""Steps, files and failures on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf import struct_pb2

from nagaya.runs.v1 import run_pb2 as pb
from runs.domain.steps import RunStep, StepStatus
from servicekit.times import timestamp

if TYPE_CHECKING:
    from runs.domain.events import StepText
    from runs.domain.runs import Failure, OutputFile
    from runs.domain.timeline import AttemptRecord, StepTimeline

_STATES = {
    StepStatus.RUNNING: pb.STEP_STATE_RUNNING,
    StepStatus.WAITING: pb.STEP_STATE_WAITING,
    StepStatus.COMPLETED: pb.STEP_STATE_COMPLETED,
    StepStatus.SKIPPED: pb.STEP_STATE_SKIPPED,
    StepStatus.FAILED: pb.STEP_STATE_FAILED,
    StepStatus.CANCELLED: pb.STEP_STATE_CANCELLED,
}
_STATUSES = {state: status for status, state in _STATES.items()}


def run_step(step: RunStep) -> pb.RunStep:
    return pb.RunStep(
        step=step.step,
        item=step.item,
        visit=step.visit,
        state=_STATES[step.status],
        retry_count=step.retry_count,
        llm_model=step.llm_model,
        model_rule=step.model_rule,
        input_tokens=step.input_tokens,
        output_tokens=step.output_tokens,
        cost_micro_usd=step.cost_micro_usd,
        prompt_version=step.prompt_version,
        prompt_digest=step.prompt_digest,
        output=artifact_ref(step.output),
        error=run_error(step.error),
        start_time=None if step.start_time is None else timestamp(step.start_time),
        end_time=None if step.end_time is None else timestamp(step.end_time),
        reused=step.reused,
    )


def step_status(state: pb.StepState.ValueType) -> StepStatus | None:
    return _STATUSES.get(state)


def step_timeline(timeline: StepTimeline) -> pb.StepTimeline:
    return pb.StepTimeline(
        step=run_step(timeline.step), attempts=map(_step_attempt, timeline.attempts)
    )


def _step_attempt(attempt: AttemptRecord) -> pb.StepAttempt:
    return pb.StepAttempt(
        epoch=attempt.epoch,
        attempt=attempt.attempt,
        state=_STATES[attempt.status],
        reason=attempt.reason,
        error_path=attempt.error_path,
        start_time=timestamp(attempt.start_time),
        end_time=None if attempt.end_time is None else timestamp(attempt.end_time),
    )


def step_text(text: StepText) -> pb.StepText:
    return pb.StepText(attempt=text.attempt, offset=text.offset, text=text.text)


def artifact_ref(file: OutputFile | None) -> pb.ArtifactRef | None:
    if file is None:
        return None
    return pb.ArtifactRef(
        output_path=file.output_path,
        output_digest=file.output_digest,
        summary=file.summary,
        metrics=file.metrics,
        fractional_metrics=file.fractional_metrics,
        values={
            name: (
                struct_pb2.Value(bool_value=value)
                if isinstance(value, bool)
                else struct_pb2.Value(string_value=value)
            )
            for name, value in file.values.items()
        },
    )


def run_error(error: Failure | None) -> pb.RunError | None:
    if error is None:
        return None
    return pb.RunError(
        reason=error.reason,
        message=error.message,
        step=error.step,
        error_path=error.error_path,
        item=error.item,
        visit=error.visit if error.step else 0,
    )
