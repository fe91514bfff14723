"""`nagaya approval`."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import click

from nagaya.runs.v1 import approval_pb2
from nagaya.runs.v1 import approval_service_pb2 as pb
from nagaya_client.cli import completion
from nagaya_client.cli.command import Group
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

    from google.protobuf.message import Message


@click.group(cls=Group)
def group() -> None:
    """Approvals: what runs ask of people, and what these decide."""


@group.command("list", rpcs=("ListApprovals",))
@click.option(
    "--state",
    type=choice_of(approval_pb2.ApprovalState),
    default="open",
    show_default=True,
    help="Only approvals in this state.",
)
@click.option("--all", "everything", is_flag=True, help="In any state.")
@click.option(
    "--run", "run_id", default="", shell_complete=completion.runs, help="Only those of this run."
)
@click.option("--mine", is_flag=True, help="Only those that you may decide.")
@tenant_option
@limit_option
@api_command
async def list_approvals(
    session: Session,
    *,
    state: str,
    everything: bool,
    run_id: str,
    mine: bool,
    tenant: str,
    limit: int,
) -> Message:
    """List approvals, newest first."""
    request = pb.ListApprovalsRequest(
        tenant_id=tenant,
        state=chosen(approval_pb2.ApprovalState, None if everything else state),
        run_id=run_id,
        mine=mine,
    )
    return await first(session.client.approvals.ListApprovals, request, limit)


@group.command(rpcs=("GetApproval",))
@click.argument("approval_id", shell_complete=completion.approvals)
@tenant_option
@api_command
async def get(session: Session, approval_id: str, tenant: str) -> Message:
    """Show one approval: what is asked, and who may decide."""
    request = pb.GetApprovalRequest(tenant_id=tenant, approval_id=approval_id)
    return await session.client.approvals.GetApproval(request)


def _decision_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.argument("approval_id", shell_complete=completion.approvals),
        click.option("-c", "--comment", default="", help="Why; it is kept with the run."),
        click.option("--request-id", help="The key of this decision, to repeat it without harm."),
    ):
        command = option(command)
    return command


@group.command(rpcs=("DecideApproval",))
@_decision_options
@tenant_option
@api_command
async def approve(
    session: Session, *, approval_id: str, comment: str, request_id: str | None, tenant: str
) -> Message:
    """Approve; the run goes on."""
    decision = approval_pb2.APPROVAL_DECISION_APPROVE
    return await _decide(session, tenant, approval_id, decision, comment, request_id)


@group.command(rpcs=())
@_decision_options
@tenant_option
@api_command
async def reject(
    session: Session, *, approval_id: str, comment: str, request_id: str | None, tenant: str
) -> Message:
    """Reject; the pipeline says what becomes of the run."""
    decision = approval_pb2.APPROVAL_DECISION_REJECT
    return await _decide(session, tenant, approval_id, decision, comment, request_id)


async def _decide(
    session: Session,
    tenant: str,
    approval_id: str,
    decision: approval_pb2.ApprovalDecision.ValueType,
    comment: str,
    request_id: str | None,
) -> Message:
    return await session.client.approvals.DecideApproval(
        pb.DecideApprovalRequest(
            tenant_id=tenant,
            request_id=request_id or str(uuid.uuid4()),
            approval_id=approval_id,
            decision=decision,
            comment=comment,
        )
    )
