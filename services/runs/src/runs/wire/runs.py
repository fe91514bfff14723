"""Runs and their events on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nagaya.runs.v1 import run_pb2 as pb
from runs.domain.inputs import Held, Inline, Pointer
from runs.domain.runs import Run, RunDraft, RunStatus
from runs.wire.models import model_choice
from runs.wire.steps import artifact_ref, run_error, run_step
from runs.wire.structs import given_object, given_value, json_value, struct, text_beside
from servicekit.times import timestamp

if TYPE_CHECKING:
    from nagaya.runs.v1 import run_service_pb2
    from runs.domain.events import RunEvent
    from runs.domain.inputs import RunInput

_STATES = {
    RunStatus.PENDING: pb.RUN_STATE_PENDING,
    RunStatus.RUNNING: pb.RUN_STATE_RUNNING,
    RunStatus.PAUSED: pb.RUN_STATE_PAUSED,
    RunStatus.COMPLETED: pb.RUN_STATE_COMPLETED,
    RunStatus.FAILED: pb.RUN_STATE_FAILED,
    RunStatus.CANCELLED: pb.RUN_STATE_CANCELLED,
}
_STATUSES = {state: status for status, state in _STATES.items()}


def run_draft(request: run_service_pb2.CreateRunRequest) -> RunDraft:
    """Return what a request asks for. Raises InputInvalid and RequestInvalid."""
    return RunDraft.parse(
        request.request_id,
        (request.pipeline, request.pipeline_version),
        _input(request),
        {step: model_choice(choice) for step, choice in request.step_models.items()},
        given_object(request.config_json, request.config, "config_json"),
    )


def run_status(state: pb.RunState.ValueType) -> RunStatus | None:
    return _STATUSES.get(state)


def run(run: Run) -> pb.Run:
    return pb.Run(
        run_id=run.run_id,
        pipeline=run.pipeline,
        pipeline_version=run.pipeline_version,
        state=_STATES[run.status],
        held=run.held,
        current_step=run.current_step,
        config=struct(run.settings) if run.settings else None,
        config_json=text_beside(run.settings),
        input=artifact_ref(run.input),
        totals=pb.RunTotals(
            input_tokens=run.totals.input_tokens,
            output_tokens=run.totals.output_tokens,
            cost_micro_usd=run.totals.cost_micro_usd,
            completed_steps=run.totals.completed_steps,
            calls_open=run.totals.calls_open,
        ),
        error=run_error(run.error),
        stuck_reason=run.stuck_reason,
        last_sequence=run.last_sequence,
        user_id=run.user_id,
        create_time=timestamp(run.create_time),
        start_time=None if run.start_time is None else timestamp(run.start_time),
        end_time=None if run.end_time is None else timestamp(run.end_time),
        schedule=run.schedule,
        schedule_time=None if run.schedule_time is None else timestamp(run.schedule_time),
    )


def run_event(event: RunEvent) -> pb.RunEvent:
    subject = event.subject
    return pb.RunEvent(
        sequence=event.sequence,
        create_time=timestamp(event.create_time),
        run=run(subject) if isinstance(subject, Run) else None,
        step=None if isinstance(subject, Run) else run_step(subject),
    )


def _input(request: run_service_pb2.CreateRunRequest) -> RunInput:
    match request.WhichOneof("input"):
        case "inline":
            return Inline(json_value(request.inline))
        case "inline_json":
            return Inline(given_value(request.inline_json, "inline_json"))
        case "pointer":
            pointer = request.pointer
            return Pointer(pointer.path, pointer.digest, pointer.json_pointer)
        case _:
            return Held()
