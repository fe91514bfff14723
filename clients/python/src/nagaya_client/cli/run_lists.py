"""`nagaya run list`, `steps` and `timeline`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

import click

from nagaya.runs.v1 import run_pb2
from nagaya.runs.v1 import run_service_pb2 as pb
from nagaya_client.cli import completion
from nagaya_client.cli.command import Command
from nagaya_client.cli.run_filters import RunFilterOptions, run_filter, run_filter_options
from nagaya_client.cli.session import (
    Session,
    api_command,
    choice_of,
    chosen,
    limit_option,
    tenant_option,
)
from nagaya_client.paging import first, pages

if TYPE_CHECKING:
    from google.protobuf.message import Message


@click.command("list", cls=Command, rpcs=("ListRuns",))
@run_filter_options
@tenant_option
@limit_option
@api_command
async def list_runs(
    session: Session, *, tenant: str, limit: int, **given: Unpack[RunFilterOptions]
) -> Message:
    """List runs, newest first."""
    wanted = run_filter(given)
    # What servers of the release before know too is said as they know it.
    state = run_pb2.RUN_STATE_UNSPECIFIED
    if len(wanted.states) == 1:
        state = wanted.states.pop()
    request = pb.ListRunsRequest(tenant_id=tenant, pipeline=wanted.pipeline, state=state)
    wanted.ClearField("pipeline")
    if wanted.ByteSize():
        request.filter.CopyFrom(wanted)
    return await first(session.client.runs.ListRuns, request, limit)


@click.command(cls=Command, rpcs=("ListRunSteps",))
@click.argument("run_id", shell_complete=completion.runs)
@click.option("--failed", is_flag=True, help="Only those that failed, and why.")
@click.option("--state", type=choice_of(run_pb2.StepState), help="Only those in this state.")
@click.option(
    "--step", default="", shell_complete=completion.steps, help="Only this step and its elements."
)
@tenant_option
@limit_option
@api_command
async def steps(
    session: Session,
    *,
    run_id: str,
    failed: bool,
    state: str | None,
    step: str,
    tenant: str,
    limit: int,
) -> Message:
    """List a run's pieces of work in the order in which they began."""
    wanted = run_pb2.STEP_STATE_FAILED if failed else chosen(run_pb2.StepState, state)
    request = pb.ListRunStepsRequest(tenant_id=tenant, run_id=run_id, state=wanted, step=step)
    if not wanted and not step:
        return await first(session.client.runs.ListRunSteps, request, limit)
    found = pb.ListRunStepsResponse()
    async for page in pages(session.client.runs.ListRunSteps, request):
        # A server of the release before sends them all.
        found.run_steps.extend(
            piece
            for piece in page.run_steps
            if wanted in (piece.state, run_pb2.STEP_STATE_UNSPECIFIED) and step in (piece.step, "")
        )
        if len(found.run_steps) > limit:
            found.next_page_token = "more"  # noqa: S105 - no password: it tells that there are
            break
    del found.run_steps[limit:]
    return found


@click.command(cls=Command, rpcs=("GetRunTimeline",))
@click.argument("run_id", shell_complete=completion.runs)
@tenant_option
@limit_option
@api_command
async def timeline(session: Session, run_id: str, tenant: str, limit: int) -> Message:
    """Show a run's attempts, and when each was made.

    `nagaya run export` draws it.
    """
    request = pb.GetRunTimelineRequest(tenant_id=tenant, run_id=run_id)
    return await first(session.client.runs.GetRunTimeline, request, limit)
