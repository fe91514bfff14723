"""Schedules on the wire."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

from google.protobuf import struct_pb2

from jsonvalues import canonical
from nagaya.artifacts.v1 import artifact_pb2
from nagaya.runs.v1 import schedule_pb2 as pb
from runs.domain.inputs import Inline, Pointer
from runs.domain.schedules import CATCH_UP_SECONDS, Overlap, Schedule, ScheduleSpec, Times
from runs.wire.models import model_choice, model_choice_message
from runs.wire.steps import run_error
from runs.wire.structs import given_object, given_value
from servicekit.times import now, timestamp

if TYPE_CHECKING:
    from datetime import datetime

    from google.protobuf.timestamp_pb2 import Timestamp

_NEXT_TIMES = 5
_OVERLAPS = {
    Overlap.SKIP: pb.SCHEDULE_OVERLAP_SKIP,
    Overlap.BUFFER_ONE: pb.SCHEDULE_OVERLAP_BUFFER_ONE,
    Overlap.BUFFER_ALL: pb.SCHEDULE_OVERLAP_BUFFER_ALL,
    Overlap.CANCEL_OTHER: pb.SCHEDULE_OVERLAP_CANCEL_OTHER,
    Overlap.ALLOW_ALL: pb.SCHEDULE_OVERLAP_ALLOW_ALL,
}
_OF_WIRE = {value: overlap for overlap, value in _OVERLAPS.items()}


def schedule_spec(message: pb.ScheduleSpec) -> ScheduleSpec:
    """Return what a request asks for; not checked yet. Raises RequestInvalid for texts."""
    return ScheduleSpec(
        pipeline=message.pipeline,
        version=message.pipeline_version,
        times=Times(message.cron, message.every_seconds, message.time_zone),
        input=_input(message),
        time_member=message.time_member,
        overlap=_OF_WIRE.get(message.overlap, Overlap.SKIP),
        catch_up_seconds=message.catch_up_seconds or CATCH_UP_SECONDS,
        step_models={step: model_choice(one) for step, one in message.step_models.items()},
        settings=given_object(message.config_json or "{}", struct_pb2.Struct(), "spec.config_json"),
    )


def schedule(found: Schedule) -> pb.Schedule:
    return pb.Schedule(
        schedule=found.name,
        spec=_spec_message(found.spec),
        paused=found.paused,
        pause_reason=found.pause_reason,
        delivered=found.delivered,
        next_times=map(timestamp, found.next_times(now(), _NEXT_TIMES)),
        last_time=None if found.last_time is None else timestamp(found.last_time),
        last_run_id=found.last_run_id,
        error=run_error(found.error),
        user_id=found.user_id,
        create_time=timestamp(found.create_time),
        update_time=timestamp(found.update_time),
    )


def moment(message: Timestamp) -> datetime:
    return message.ToDatetime(UTC)


def _input(message: pb.ScheduleSpec) -> Inline | Pointer:
    if message.WhichOneof("input") == "pointer":
        pointer = message.pointer
        return Pointer(pointer.path, pointer.digest, pointer.json_pointer)
    return Inline(given_value(message.inline_json, "spec.inline_json"))


def _spec_message(spec: ScheduleSpec) -> pb.ScheduleSpec:
    models = {step: model_choice_message(one) for step, one in spec.step_models.items()}
    message = pb.ScheduleSpec(
        pipeline=spec.pipeline,
        pipeline_version=spec.version,
        time_zone=spec.times.time_zone,
        time_member=spec.time_member,
        overlap=_OVERLAPS[spec.overlap],
        catch_up_seconds=spec.catch_up_seconds,
        step_models=models,
        config_json=canonical(spec.settings).decode() if spec.settings else "",
    )
    if spec.times.cron:
        message.cron = spec.times.cron
    else:
        message.every_seconds = spec.times.every_seconds
    match spec.input:
        case Inline(value):
            message.inline_json = canonical(value).decode()
        case Pointer(path, digest, json_pointer):
            pointer = artifact_pb2.ArtifactPointer(
                path=path, digest=digest, json_pointer=json_pointer
            )
            message.pointer.CopyFrom(pointer)
    return message
