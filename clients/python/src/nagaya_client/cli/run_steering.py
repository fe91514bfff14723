"""`nagaya run pause`, `resume`, `cancel`, `retry` and `bulk`."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Unpack

import click

from nagaya.runs.v1 import run_service_pb2 as pb
from nagaya_client.cli import completion
from nagaya_client.cli.command import Command
from nagaya_client.cli.run_filters import RunFilterOptions, run_filter, run_filter_options
from nagaya_client.cli.session import Session, api_command, choice_of, chosen, tenant_option
from nagaya_client.paging import pages

if TYPE_CHECKING:
    from google.protobuf.message import Message


@click.command(cls=Command, rpcs=("PauseRun",))
@click.argument("run_id", shell_complete=completion.runs)
@tenant_option
@api_command
async def pause(session: Session, run_id: str, tenant: str) -> Message:
    """Have a run come to a rest, until it is resumed."""
    request = pb.PauseRunRequest(tenant_id=tenant, run_id=run_id)
    return await session.client.runs.PauseRun(request)


@click.command(cls=Command, rpcs=("ResumeRun",))
@click.argument("run_id", shell_complete=completion.runs)
@tenant_option
@api_command
async def resume(session: Session, run_id: str, tenant: str) -> Message:
    """Have a paused run go on."""
    request = pb.ResumeRunRequest(tenant_id=tenant, run_id=run_id)
    return await session.client.runs.ResumeRun(request)


@click.command(cls=Command, rpcs=("CancelRun",))
@click.argument("run_id", shell_complete=completion.runs)
@tenant_option
@api_command
async def cancel(session: Session, run_id: str, tenant: str) -> Message:
    """Ask a run to stop; its state tells when it has stopped."""
    request = pb.CancelRunRequest(tenant_id=tenant, run_id=run_id)
    return await session.client.runs.CancelRun(request)


@click.command(cls=Command, rpcs=("RetryRun",))
@click.argument("run_id", shell_complete=completion.runs)
@click.option("--step", default="", shell_complete=completion.steps, help="Only this step.")
@click.option("--item", type=click.IntRange(1), help="Only this element of the step.")
@click.option("--new-calls", is_flag=True, help="Ask models anew, which may be paid again.")
@click.option("--request-id", help="The key of this retry, to repeat it without harm.")
@tenant_option
@api_command
async def retry(
    session: Session,
    run_id: str,
    *,
    step: str,
    item: int | None,
    new_calls: bool,
    request_id: str | None,
    tenant: str,
) -> Message:
    """Have a failed or cancelled run go on.

    What failed is done again, everything that is done is kept, and nothing is paid twice. With
    --new-calls what failed asks its model again even where the last reply was paid and could not be
    used, or where nobody knows what became of the call.
    """
    if item and not step:
        raise click.UsageError("--item is an element of a step: name it with --step")
    request = pb.RetryRunRequest(
        tenant_id=tenant,
        run_id=run_id,
        request_id=request_id or str(uuid.uuid4()),
        step=step,
        item=item or 0,
        new_calls=new_calls,
    )
    return await session.client.runs.RetryRun(request)


@click.command(cls=Command, rpcs=("BulkRuns",))
@click.argument("operation", type=choice_of(pb.RunOperation))
@run_filter_options
@click.option("--all", "every", is_flag=True, help="Of all runs: no filter is given.")
@click.option("--dry-run", is_flag=True, help="Only tell which runs, and what is refused.")
@click.option("--new-calls", is_flag=True, help="With retry: as of `run retry`.")
@click.option("--request-id", help="The key of this call, to repeat it without harm.")
@tenant_option
@api_command
async def bulk(
    session: Session,
    *,
    operation: str,
    every: bool,
    dry_run: bool,
    new_calls: bool,
    request_id: str | None,
    tenant: str,
    **given: Unpack[RunFilterOptions],
) -> Message:
    """Pause, resume, cancel or retry many runs.

    What is refused for one run is told, and keeps no other from it.
    """
    wanted = run_filter(given)
    if not every and not wanted.ByteSize():
        raise click.UsageError("which runs? Filter them, or say --all")
    request = pb.BulkRunsRequest(
        tenant_id=tenant,
        request_id=request_id or str(uuid.uuid4()),
        filter=wanted,
        operation=chosen(pb.RunOperation, operation),
        dry_run=dry_run,
        new_calls=new_calls,
        page_size=200,
    )
    found = pb.BulkRunsResponse()
    async for page in pages(session.client.runs.BulkRuns, request):
        found.results.extend(page.results)
    return found
