"""`nagaya schema`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nagaya.tenant.v1 import schema_service_pb2 as pb
from nagaya_client.cli.command import Group
from nagaya_client.cli.session import Session, api_command, limit_option
from nagaya_client.paging import first

if TYPE_CHECKING:
    from google.protobuf.message import Message


@click.group(cls=Group)
def group() -> None:
    """How far each database has come with its migrations."""


@group.command(rpcs=("GetSchemaStatus",))
@click.option("-t", "--tenant", "only", metavar="ID", default="", help="Only this tenant.")
@limit_option
@api_command
async def status(session: Session, only: str, limit: int) -> Message:
    """List how far each database is, by tenant and service."""
    request = pb.GetSchemaStatusRequest(tenant_id=only)
    return await first(session.client.schema.GetSchemaStatus, request, limit)
