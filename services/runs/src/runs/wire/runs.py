"""Runs and their events on the wire."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from typing import TYPE_CHECKING
from uuid import UUID

from nagaya.runs.v1 import run_pb2 as pb
from nagaya.runs.v1 import run_service_pb2
from runs.domain.activities import StepRef
from runs.domain.bulk import Bulk, BulkResult
from runs.domain.events import Heartbeat, StepText
from runs.domain.fork_drafts import ForkDraft
from runs.domain.inputs import Held, Inline, Pointer
from runs.domain.run_filters import RunFilter
from runs.domain.runs import Retry, Run, RunDraft, RunOperation, RunStatus, RunStop
from runs.domain.steps import RunStep
from runs.wire.models import model_choice
from runs.wire.steps import artifact_ref, run_error, run_step, step_text
from runs.wire.structs import given_object, given_value, json_value, struct, text_beside
from servicekit.errors import RequestInvalid, Violation
from servicekit.times import timestamp

if TYPE_CHECKING:
    from datetime import datetime

    from google.protobuf.timestamp_pb2 import Timestamp

    from runs.domain.events import RunEvent
    from runs.domain.inputs import RunInput
    from runs.domain.timeline import RunPhase

_STATES = {
    RunStatus.PENDING: pb.RUN_STATE_PENDING,
    RunStatus.RUNNING: pb.RUN_STATE_RUNNING,
    RunStatus.PAUSED: pb.RUN_STATE_PAUSED,
    RunStatus.COMPLETED: pb.RUN_STATE_COMPLETED,
    RunStatus.FAILED: pb.RUN_STATE_FAILED,
    RunStatus.CANCELLED: pb.RUN_STATE_CANCELLED,
}
_STOPS = {
    None: pb.RUN_STOP_UNSPECIFIED,
    RunStop.PAUSE: pb.RUN_STOP_PAUSE,
    RunStop.RESUME: pb.RUN_STOP_RESUME,
    RunStop.CANCEL: pb.RUN_STOP_CANCEL,
}
_OPERATIONS = {
    run_service_pb2.RUN_OPERATION_PAUSE: RunOperation.PAUSE,
    run_service_pb2.RUN_OPERATION_RESUME: RunOperation.RESUME,
    run_service_pb2.RUN_OPERATION_CANCEL: RunOperation.CANCEL,
    run_service_pb2.RUN_OPERATION_RETRY: RunOperation.RETRY,
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
        dict(request.labels),
    )


def fork_draft(request: run_service_pb2.ForkRunRequest) -> ForkDraft:
    """Return what a request asks for. Raises InputInvalid and RequestInvalid."""
    return ForkDraft.parse(
        request.request_id,
        str(UUID(request.run_id)),
        (request.from_step, frozenset(request.items)),
        request.pipeline_version,
        dict(request.prompt_versions),
        {step: model_choice(choice) for step, choice in request.step_models.items()},
        _input(request) if request.WhichOneof("input") else None,
    )


def retry(request: run_service_pb2.RetryRunRequest) -> Retry:
    return Retry(request.request_id, request.step, item=request.item, new_calls=request.new_calls)


def bulk(request: run_service_pb2.BulkRunsRequest) -> Bulk:
    return Bulk(
        wanted=run_filter(request.filter),
        operation=_OPERATIONS[request.operation],
        retry=Retry(request.request_id, new_calls=request.new_calls),
        dry_run=request.dry_run,
        page_size=request.page_size,
        page_token=request.page_token,
    )


def bulk_result(result: BulkResult) -> run_service_pb2.BulkRunResult:
    return run_service_pb2.BulkRunResult(run=run(result.run), refusal=run_error(result.refusal))


def run_filter(message: pb.RunFilter) -> RunFilter:
    return RunFilter(
        pipeline=message.pipeline,
        statuses=frozenset(_STATUSES[state] for state in message.states),
        labels=dict(message.labels),
        created_from=_moment(message.create_time_from),
        created_before=_moment(message.create_time_before),
        least_micro_usd=message.min_cost_micro_usd,
        most_micro_usd=(
            message.max_cost_micro_usd if message.HasField("max_cost_micro_usd") else None
        ),
    )


def listed(request: run_service_pb2.ListRunsRequest) -> RunFilter:
    """Return which runs a request asks for. Raises RequestInvalid if it says it in two ways."""
    wanted = run_filter(request.filter)
    if request.pipeline:
        _check_once("pipeline", wanted.pipeline in ("", request.pipeline))
        wanted = replace(wanted, pipeline=request.pipeline)
    if request.state:
        status = _STATUSES[request.state]
        _check_once("states", not wanted.statuses or status in wanted.statuses)
        wanted = replace(wanted, statuses=frozenset({status}))
    return wanted


def run(run: Run) -> pb.Run:
    return pb.Run(
        run_id=run.run_id,
        pipeline=run.pipeline,
        pipeline_version=run.pipeline_version,
        state=_STATES[run.status],
        stop=_STOPS[run.stop],
        held=run.held,
        queued=run.queued,
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
        labels=run.labels,
        forked_from_run_id=run.forked_from_run_id,
    )


def run_event(event: RunEvent) -> pb.RunEvent:
    subject = event.subject
    return pb.RunEvent(
        sequence=event.sequence,
        create_time=timestamp(event.create_time),
        run=run(subject) if isinstance(subject, Run) else None,
        step=None if isinstance(subject, Run) else run_step(subject),
    )


def watched_text(
    request: run_service_pb2.WatchStepTextRequest,
) -> tuple[StepRef, int, int]:
    """Return the step whose text is asked for, and the offset and the attempt to begin with."""
    place = (request.step, request.item, request.visit or 1)
    ref = StepRef(request.tenant_id, request.run_id, 1, *place)
    return ref, request.offset, request.attempt


def text_part(part: StepText | RunStep | Heartbeat) -> run_service_pb2.WatchStepTextResponse:
    match part:
        case StepText():
            return run_service_pb2.WatchStepTextResponse(text=step_text(part))
        case RunStep():
            return run_service_pb2.WatchStepTextResponse(step=run_step(part))
        case Heartbeat():
            return run_service_pb2.WatchStepTextResponse(heartbeat=True)


def run_phase(phase: RunPhase) -> pb.RunPhase:
    return pb.RunPhase(
        state=_STATES[phase.status],
        stuck_reason=phase.stuck_reason,
        start_time=timestamp(phase.start_time),
        end_time=None if phase.end_time is None else timestamp(phase.end_time),
    )


def _check_once(field: str, fits: bool) -> None:  # noqa: FBT001 - what is checked
    if not fits:
        fault = Violation(f"filter.{field}", "it says something else than the request itself")
        raise RequestInvalid(f"{fault.field}: {fault.description}", violations=[fault])


def _moment(message: Timestamp) -> datetime | None:
    if not message.ByteSize():
        return None
    return message.ToDatetime(UTC)


def _input(
    request: run_service_pb2.CreateRunRequest | run_service_pb2.ForkRunRequest,
) -> RunInput:
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
