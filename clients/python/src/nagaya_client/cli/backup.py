"""`nagaya backup`."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

import click
from google.protobuf.duration_pb2 import Duration

from nagaya.tenant.v1 import backup_service_pb2 as pb
from nagaya_client.cli.command import Group
from nagaya_client.cli.operations import finished, no_wait_option
from nagaya_client.cli.session import Session, api_command, limit_option, tenant_option
from nagaya_client.paging import first

if TYPE_CHECKING:
    from google.protobuf.message import Message

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LENGTH = re.compile(r"([1-9]\d{0,5})([mhdw])")


class Length(click.ParamType[timedelta]):
    """A length of time: `90m`, `12h`, `30d` or `8w`."""

    name = "length"

    def convert(
        self,
        value: str | timedelta,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> timedelta:
        if isinstance(value, timedelta):
            return value
        found = _LENGTH.fullmatch(value)
        if found is None:
            self.fail(f"{value} is not a length such as 90m, 12h, 30d or 8w", param, ctx)
        return timedelta(**{_UNITS[found[2]]: int(found[1])})


@click.group(cls=Group)
def group() -> None:
    """Backups of tenants: a dump and the files, readable without Nagaya."""


@group.command(rpcs=("CreateBackup",))
@tenant_option
@click.option("--keep-for", type=Length(), metavar="LENGTH", help="Delete it by itself after this.")
@click.option("--request-id", help="The key of this backup: repeat it to get the same one.")
@no_wait_option
@api_command
async def create(
    session: Session,
    tenant: str,
    *,
    keep_for: timedelta | None,
    request_id: str | None,
    no_wait: bool,
) -> Message:
    """Make a backup of a tenant, which goes on working."""
    request = pb.CreateBackupRequest(tenant_id=tenant, request_id=request_id or str(uuid.uuid4()))
    if keep_for is not None:
        request.keep_for.CopyFrom(_duration(keep_for))
    begun = await session.client.backups.CreateBackup(request)
    ended = await finished(session, begun.operation, no_wait=no_wait)
    if no_wait:
        return ended
    return await _get(session, tenant, begun.backup.backup_id)


@group.command(rpcs=("GetBackup",))
@tenant_option
@click.argument("backup_id")
@api_command
async def get(session: Session, tenant: str, backup_id: str) -> Message:
    """Show one backup."""
    return await _get(session, tenant, backup_id)


@group.command("list", rpcs=("ListBackups",))
@tenant_option
@limit_option
@api_command
async def list_backups(session: Session, tenant: str, limit: int) -> Message:
    """List the backups of a tenant, the newest first."""
    request = pb.ListBackupsRequest(tenant_id=tenant)
    return await first(session.client.backups.ListBackups, request, limit)


@group.command(rpcs=("DeleteBackup",))
@tenant_option
@click.argument("backup_id")
@api_command
async def delete(session: Session, tenant: str, backup_id: str) -> Message:
    """Delete a backup, and the files that no other one has."""
    request = pb.DeleteBackupRequest(tenant_id=tenant, backup_id=backup_id)
    return await session.client.backups.DeleteBackup(request)


@group.command(rpcs=("VerifyBackup",))
@tenant_option
@click.argument("backup_id")
@no_wait_option
@api_command
async def verify(session: Session, tenant: str, backup_id: str, *, no_wait: bool) -> Message:
    """Restore a backup to the side, and compare.

    Exits with 1 when the backup cannot be restored.
    """
    request = pb.VerifyBackupRequest(
        tenant_id=tenant, backup_id=backup_id, request_id=str(uuid.uuid4())
    )
    begun = await session.client.backups.VerifyBackup(request)
    ended = await finished(session, begun.operation, no_wait=no_wait)
    return ended if no_wait else await _get(session, tenant, backup_id)


@group.command(rpcs=("RestoreBackup",))
@tenant_option
@click.argument("backup_id")
@click.option("--as", "new_tenant", metavar="ID", help="Make a new tenant of it.")
@click.option("--name", help="The name of the new tenant; the old one's when absent.")
@click.option("--server", metavar="ID", help="The database server to restore it on.")
@click.option("--request-id", help="The key of this restoration: repeat it to go on with it.")
@click.option("--yes", is_flag=True, help="Do not ask on the terminal before data is replaced.")
@no_wait_option
@api_command
async def restore(
    session: Session,
    tenant: str,
    backup_id: str,
    *,
    new_tenant: str | None,
    name: str | None,
    server: str | None,
    request_id: str | None,
    yes: bool,
    no_wait: bool,
) -> Message:
    """Restore a backup in place, or as a new tenant."""
    if not new_tenant and not yes and session.on_terminal:
        question = f"What {tenant} has written since the backup will be gone. Restore it?"
        click.confirm(question, abort=True, err=True)
    request = pb.RestoreBackupRequest(
        tenant_id=tenant,
        backup_id=backup_id,
        request_id=request_id or str(uuid.uuid4()),
        new_tenant_id=new_tenant or "",
        new_name=name or "",
        server_id=server or "",
    )
    begun = await session.client.backups.RestoreBackup(request)
    return await finished(session, begun.operation, no_wait=no_wait)


@group.command(rpcs=("GetBackupSchedule",))
@tenant_option
@click.option("--every", type=Length(), metavar="LENGTH", help="Set the time between backups.")
@click.option("--keep", type=click.IntRange(1, 10_000), default=7, help="Keep so many in any case.")
@click.option("--keep-for", type=Length(), metavar="LENGTH", help="Keep the others for so long.")
@click.option("--verify", is_flag=True, help="Verify each once it is made.")
@click.option("--off", is_flag=True, help="Make no more backups by themselves.")
@api_command
async def schedule(
    session: Session,
    tenant: str,
    *,
    every: timedelta | None,
    keep: int,
    keep_for: timedelta | None,
    verify: bool,
    off: bool,
) -> Message:
    """Show or set when backups are made by themselves.

    Lengths are such as 90m, 12h, 30d or 8w.
    """
    if off:
        request = pb.DeleteBackupScheduleRequest(tenant_id=tenant)
        return await session.client.backups.DeleteBackupSchedule(request)
    if every is None:
        shown = pb.GetBackupScheduleRequest(tenant_id=tenant)
        return await session.client.backups.GetBackupSchedule(shown)
    return await session.client.backups.SetBackupSchedule(
        pb.SetBackupScheduleRequest(
            tenant_id=tenant,
            interval=_duration(every),
            keep_count=keep,
            keep_for=_duration(keep_for or timedelta()),
            verify=verify,
        )
    )


async def _get(session: Session, tenant: str, backup_id: str) -> Message:
    request = pb.GetBackupRequest(tenant_id=tenant, backup_id=backup_id)
    return await session.client.backups.GetBackup(request)


def _duration(length: timedelta) -> Duration:
    message = Duration()
    message.FromTimedelta(length)
    return message
