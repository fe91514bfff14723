"""`nagaya call`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nagaya.llm_gateway.v1 import call_pb2
from nagaya.llm_gateway.v1 import call_service_pb2 as pb
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
    from google.protobuf.message import Message


@click.group(cls=Group)
def group() -> None:
    """The ledger of calls to models."""


@group.command("list", rpcs=("ListCalls",))
@click.option("--run", "run_id", default="", help="Only calls of this run.")
@click.option("--state", type=choice_of(call_pb2.CallState), help="Only calls in this state.")
@tenant_option
@limit_option
@api_command
async def list_calls(
    session: Session, run_id: str, state: str | None, tenant: str, limit: int
) -> Message:
    """List calls with their attempts, oldest first."""
    request = pb.ListCallsRequest(
        tenant_id=tenant, run_id=run_id, state=chosen(call_pb2.CallState, state)
    )
    return await first(session.client.calls.ListCalls, request, limit)


@group.command(rpcs=("GetCall",))
@click.argument("run_id")
@click.argument("step")
@click.option("--item", default=0, show_default=True, help="Which element of a map.")
@click.option("--visit", default=1, show_default=True, help="Which pass of a loop.")
@click.option("--call", default=1, show_default=True, help="Which call of this piece of work.")
@tenant_option
@api_command
async def get(
    session: Session, run_id: str, step: str, item: int, visit: int, call: int, tenant: str
) -> Message:
    """Show one call with its attempts."""
    key = call_pb2.CallKey(run_id=run_id, step=step, item=item, visit=visit, call=call)
    return await session.client.calls.GetCall(pb.GetCallRequest(tenant_id=tenant, key=key))
