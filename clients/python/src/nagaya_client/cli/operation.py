"""`nagaya operation`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nagaya.tenant.v1 import operation_pb2
from nagaya.tenant.v1 import operation_service_pb2 as pb
from nagaya_client.cli.command import Group
from nagaya_client.cli.operations import finished, no_wait_option
from nagaya_client.cli.session import (
    Session,
    api_command,
    choice_of,
    chosen,
    limit_option,
)
from nagaya_client.paging import first

if TYPE_CHECKING:
    from google.protobuf.message import Message


@click.group(cls=Group)
def group() -> None:
    """Long pieces of work: creations, purges, moves, backups, exports, rollouts."""


@group.command("list", rpcs=("ListOperations",))
@click.option("-t", "--tenant", "owner", metavar="ID", help="Only those of this tenant.")
@click.option(
    "--state", type=choice_of(operation_pb2.OperationState), help="Only those in this state."
)
@limit_option
@api_command
async def list_operations(
    session: Session, owner: str | None, state: str | None, limit: int
) -> Message:
    """List operations, the newest first."""
    request = pb.ListOperationsRequest(
        tenant_id=owner or "", state=chosen(operation_pb2.OperationState, state)
    )
    return await first(session.client.operations.ListOperations, request, limit)


@group.command(rpcs=("GetOperation",))
@click.argument("operation_id")
@api_command
async def get(session: Session, operation_id: str) -> Message:
    """Show one operation."""
    request = pb.GetOperationRequest(operation_id=operation_id)
    return await session.client.operations.GetOperation(request)


@group.command(rpcs=("WatchOperation",))
@click.argument("operation_id")
@api_command
async def watch(session: Session, operation_id: str) -> Message:
    """Show an operation until it has ended.

    Exits with 1 if it is not done then.
    """
    running = operation_pb2.OPERATION_STATE_RUNNING
    return await finished(
        session, operation_pb2.Operation(operation_id=operation_id, state=running)
    )


@group.command(rpcs=("ResumeOperation",))
@click.argument("operation_id")
@no_wait_option
@api_command
async def resume(session: Session, operation_id: str, *, no_wait: bool) -> Message:
    """Run a failed operation again, from where it stopped."""
    request = pb.ResumeOperationRequest(operation_id=operation_id)
    resumed = await session.client.operations.ResumeOperation(request)
    return await finished(session, resumed.operation, no_wait=no_wait)


@group.command(rpcs=("CancelOperation",))
@click.argument("operation_id")
@api_command
async def cancel(session: Session, operation_id: str) -> Message:
    """Stop an operation, and remove what it has made."""
    request = pb.CancelOperationRequest(operation_id=operation_id)
    return await session.client.operations.CancelOperation(request)
