"""`nagaya run pause`, `resume`, `cancel` and `retry`."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import click

from nagaya.runs.v1 import run_service_pb2 as pb
from nagaya_client.cli.command import Command
from nagaya_client.cli.session import Session, api_command, tenant_option

if TYPE_CHECKING:
    from google.protobuf.message import Message


@click.command(cls=Command, rpcs=("PauseRun",))
@click.argument("run_id")
@tenant_option
@api_command
async def pause(session: Session, run_id: str, tenant: str) -> Message:
    """Have a run come to a rest, until it is resumed."""
    request = pb.PauseRunRequest(tenant_id=tenant, run_id=run_id)
    return await session.client.runs.PauseRun(request)


@click.command(cls=Command, rpcs=("ResumeRun",))
@click.argument("run_id")
@tenant_option
@api_command
async def resume(session: Session, run_id: str, tenant: str) -> Message:
    """Have a paused run go on."""
    request = pb.ResumeRunRequest(tenant_id=tenant, run_id=run_id)
    return await session.client.runs.ResumeRun(request)


@click.command(cls=Command, rpcs=("CancelRun",))
@click.argument("run_id")
@tenant_option
@api_command
async def cancel(session: Session, run_id: str, tenant: str) -> Message:
    """Ask a run to stop; its state tells when it has stopped."""
    request = pb.CancelRunRequest(tenant_id=tenant, run_id=run_id)
    return await session.client.runs.CancelRun(request)


@click.command(cls=Command, rpcs=("RetryRun",))
@click.argument("run_id")
@click.option("--step", default="", help="Only this step.")
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
