"""`nagaya schedule`."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, TypeVar

import click
from google.protobuf.timestamp_pb2 import Timestamp

from nagaya.runs.v1 import run_service_pb2, schedule_pb2
from nagaya.runs.v1 import schedule_service_pb2 as pb
from nagaya_client.cli import completion
from nagaya_client.cli.command import Group
from nagaya_client.cli.run_filters import Moment
from nagaya_client.cli.run_options import JsonFile, StepModel
from nagaya_client.cli.session import (
    Session,
    api_command,
    choice_of,
    chosen,
    limit_option,
    tenant_option,
)
from nagaya_client.paging import first

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from google.protobuf.message import Message

Decorated = TypeVar("Decorated", bound="Callable[..., Any]")


def spec_options(command: Decorated) -> Decorated:
    """Add the options that say what a schedule does and when."""
    for option in (
        click.argument("pipeline", shell_complete=completion.pipelines),
        click.option("--cron", default="", help="Five fields, such as '30 2 * * 1-5'."),
        click.option("--every", "every_seconds", type=int, default=0, help="In seconds."),
        click.option("--time-zone", default="", help="Of --cron, such as Asia/Tokyo; else UTC."),
        click.option(
            "-i", "--input", "given", type=JsonFile(), required=True, help="What each run is given."
        ),
        click.option("--version", "pipeline_version", type=int, default=0, help="Of the pipeline."),
        click.option("--time-member", default="", help="The input's member for the run's time."),
        click.option(
            "--overlap",
            type=choice_of(schedule_pb2.ScheduleOverlap),
            help="When a run has not ended at the next time.",
        ),
        click.option("--catch-up", "catch_up_seconds", type=int, default=0, help="In seconds."),
        click.option("--model", "models", type=StepModel(), multiple=True, help="For a step."),
        click.option("--config", type=JsonFile(), help="A JSON object to keep with each run."),
    ):
        command = option(command)
    return command


@click.group(cls=Group)
def group() -> None:
    """Schedules: runs of a pipeline at their times."""


@group.command(rpcs=("CreateSchedule",))
@click.argument("schedule", shell_complete=completion.schedules)
@spec_options
@click.option("--paused", is_flag=True, help="It creates nothing until it is resumed.")
@click.option("--request-id", help="The key of this creation, to repeat it without harm.")
@tenant_option
@api_command
async def create(
    session: Session,
    *,
    schedule: str,
    paused: bool,
    request_id: str | None,
    tenant: str,
    **spec: Any,  # noqa: ANN401 - the options of a spec
) -> Message:
    """Create a schedule of a pipeline's runs, by --cron or --every."""
    request = pb.CreateScheduleRequest(
        tenant_id=tenant,
        request_id=request_id or str(uuid.uuid4()),
        schedule=schedule,
        spec=_spec(**spec),
        paused=paused,
    )
    return await session.client.schedules.CreateSchedule(request)


@group.command(rpcs=("UpdateSchedule",))
@click.argument("schedule", shell_complete=completion.schedules)
@spec_options
@tenant_option
@api_command
async def update(
    session: Session,
    *,
    schedule: str,
    tenant: str,
    **spec: Any,  # noqa: ANN401 - the options of a spec
) -> Message:
    """Replace what a schedule does and when."""
    request = pb.UpdateScheduleRequest(tenant_id=tenant, schedule=schedule, spec=_spec(**spec))
    return await session.client.schedules.UpdateSchedule(request)


@group.command(rpcs=("GetSchedule",))
@click.argument("schedule", shell_complete=completion.schedules)
@tenant_option
@api_command
async def get(session: Session, schedule: str, tenant: str) -> Message:
    """Show one schedule, its next times and its last run."""
    request = pb.GetScheduleRequest(tenant_id=tenant, schedule=schedule)
    return await session.client.schedules.GetSchedule(request)


@group.command("list", rpcs=("ListSchedules",))
@tenant_option
@limit_option
@api_command
async def list_schedules(session: Session, tenant: str, limit: int) -> Message:
    """List schedules, by name."""
    request = pb.ListSchedulesRequest(tenant_id=tenant)
    return await first(session.client.schedules.ListSchedules, request, limit)


@group.command(rpcs=("PauseSchedule",))
@click.argument("schedule", shell_complete=completion.schedules)
@click.option("--reason", default="", help="Why, for whoever reads it.")
@tenant_option
@api_command
async def pause(session: Session, schedule: str, reason: str, tenant: str) -> Message:
    """Have a schedule create no runs until it is resumed."""
    request = pb.PauseScheduleRequest(tenant_id=tenant, schedule=schedule, reason=reason)
    return await session.client.schedules.PauseSchedule(request)


@group.command(rpcs=("ResumeSchedule",))
@click.argument("schedule", shell_complete=completion.schedules)
@tenant_option
@api_command
async def resume(session: Session, schedule: str, tenant: str) -> Message:
    """Have a paused schedule create runs again."""
    request = pb.ResumeScheduleRequest(tenant_id=tenant, schedule=schedule)
    return await session.client.schedules.ResumeSchedule(request)


@group.command(rpcs=("TriggerSchedule",))
@click.argument("schedule", shell_complete=completion.schedules)
@click.option("--request-id", help="The key of this run, to repeat it without harm.")
@tenant_option
@api_command
async def trigger(session: Session, schedule: str, request_id: str | None, tenant: str) -> Message:
    """Create a run of a schedule now."""
    request = pb.TriggerScheduleRequest(
        tenant_id=tenant, schedule=schedule, request_id=request_id or str(uuid.uuid4())
    )
    response = await session.client.schedules.TriggerSchedule(request)
    return run_service_pb2.GetRunResponse(run=response.run)


@group.command(rpcs=("BackfillSchedule",))
@click.argument("schedule", shell_complete=completion.schedules)
@click.option("--from", "start", type=Moment(), required=True, help="The first time, included.")
@click.option("--to", "end", type=Moment(), required=True, help="The last time, included.")
@click.option("--request-id", help="The key of this call, to repeat it without harm.")
@tenant_option
@api_command
async def backfill(
    session: Session,
    schedule: str,
    start: datetime,
    end: datetime,
    request_id: str | None,
    tenant: str,
) -> Message:
    """Create the runs of times that have passed.

    A time that has its run already gets no second one.
    """
    request = pb.BackfillScheduleRequest(
        tenant_id=tenant,
        schedule=schedule,
        request_id=request_id or str(uuid.uuid4()),
        start_time=_timestamp(start),
        end_time=_timestamp(end),
    )
    return await session.client.schedules.BackfillSchedule(request)


@group.command(rpcs=("DeleteSchedule",))
@click.argument("schedule", shell_complete=completion.schedules)
@tenant_option
@api_command
async def delete(session: Session, schedule: str, tenant: str) -> Message:
    """Delete a schedule; its runs stay."""
    request = pb.DeleteScheduleRequest(tenant_id=tenant, schedule=schedule)
    return await session.client.schedules.DeleteSchedule(request)


def _spec(
    *,
    cron: str,
    every_seconds: int,
    given: bytes,
    overlap: str | None,
    models: tuple[tuple[str, Any], ...],
    config: bytes | None,
    **others: Any,  # noqa: ANN401 - fields of their names
) -> schedule_pb2.ScheduleSpec:
    if bool(cron) == bool(every_seconds):
        raise click.UsageError("when? --cron or --every tells it, one of them")
    spec = schedule_pb2.ScheduleSpec(
        inline_json=given.decode(),
        overlap=chosen(schedule_pb2.ScheduleOverlap, overlap),
        config_json="" if config is None else config.decode(),
        **others,
    )
    if cron:
        spec.cron = cron
    else:
        spec.every_seconds = every_seconds
    for step, choice in models:
        spec.step_models[step].CopyFrom(choice)
    return spec


def _timestamp(moment: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(moment)
    return message
