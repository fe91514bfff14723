"""`nagaya audit`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nagaya.tenant.v1 import audit_service_pb2 as pb
from nagaya_client.cli.command import Group
from nagaya_client.cli.session import Session, api_command, limit_option, tenant_option
from nagaya_client.paging import first

if TYPE_CHECKING:
    from google.protobuf.message import Message


@click.group(cls=Group)
def group() -> None:
    """The audit logs."""


@group.command("list", rpcs=("ListAuditLogs",))
@tenant_option
@limit_option
@api_command
async def list_logs(session: Session, tenant: str, limit: int) -> Message:
    """List a tenant's audit log, newest first."""
    request = pb.ListAuditLogsRequest(tenant_id=tenant)
    return await first(session.client.audit.ListAuditLogs, request, limit)


@group.command()
@limit_option
@api_command
async def management(session: Session, limit: int) -> Message:
    """List the log of what concerns no tenant, or must outlive one."""
    return await first(session.client.audit.ListAuditLogs, pb.ListAuditLogsRequest(), limit)
