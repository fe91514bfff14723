"""`nagaya audit`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nagaya.tenant.v1 import audit_service_pb2 as pb
from nagaya_client.cli import failures
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


class KnownEntry(click.ParamType[tuple[int, str]]):
    """The place and the digest of an entry, as `SEQUENCE:DIGEST`."""

    name = "entry"

    def convert(
        self, value: str | tuple[int, str], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, str]:
        if isinstance(value, tuple):
            return value
        sequence, _, digest = value.partition(":")
        if not sequence.isdecimal() or not digest:
            self.fail(f"{value} is not SEQUENCE:DIGEST", param, ctx)
        return int(sequence), digest.lower()


@group.command(rpcs=("VerifyAuditLog",))
@click.option("-t", "--tenant", "owner", metavar="ID", help="The tenant; else the profile's.")
@click.option("--management", is_flag=True, help="The log of the management database instead.")
@click.option(
    "--known",
    type=KnownEntry(),
    default=(0, ""),
    metavar="SEQUENCE:DIGEST",
    help="An entry that was noted before; the log must still have it.",
)
@api_command
async def verify(
    session: Session, *, owner: str | None, management: bool, known: tuple[int, str]
) -> None:
    """Compute every digest of a log anew.

    Exits with 1 when the log is not as it was written. Note HEAD_SEQUENCE and HEAD_DIGEST where
    nobody who can change the database can change them: --known compares with them later.
    """
    tenant = "" if management else owner or session.settings.tenant
    if not tenant and not management:
        raise click.UsageError("whose log? --tenant names it, or --management")
    sequence, digest = known
    request = pb.VerifyAuditLogRequest(
        tenant_id=tenant, known_sequence=sequence, known_digest=digest
    )
    found = await session.client.audit.VerifyAuditLog(request)
    session.printer.show(found)
    if found.HasField("first_fault"):
        raise failures.CommandExit(failures.FAILED)
