"""`nagaya tenant`."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, BinaryIO

import click

from nagaya.tenant.v1 import backup_service_pb2
from nagaya.tenant.v1 import tenant_service_pb2 as pb
from nagaya.tenant.v1.secret_service_pb2 import RotatePasswordsRequest
from nagaya_client.cli import completion
from nagaya_client.cli.command import Group
from nagaya_client.cli.operations import finished, no_wait_option
from nagaya_client.cli.session import Session, api_command, labels, limit_option
from nagaya_client.cli.tenant_transfers import export_tenant, import_tenant
from nagaya_client.paging import first

if TYPE_CHECKING:
    from google.protobuf.message import Message


@click.group(cls=Group)
def group() -> None:
    """Customers, each with a database of its own."""


@group.command(rpcs=("CreateTenant",))
@click.argument("tenant_id")
@click.option("--name", help="The name shown to people; the id when absent.")
@click.option("--request-id", help="The key of this creation: repeat it to finish one.")
@click.option(
    "--on",
    "server_labels",
    metavar="NAME=VALUE",
    multiple=True,
    help="A label that the server must have, such as region=eu; server=ID names one.",
)
@api_command
async def create(
    session: Session,
    tenant_id: str,
    name: str | None,
    request_id: str | None,
    server_labels: tuple[str, ...],
) -> Message:
    """Create a tenant, with its database and every table."""
    return await session.client.tenants.CreateTenant(
        pb.CreateTenantRequest(
            tenant_id=tenant_id,
            name=name or tenant_id,
            request_id=request_id or str(uuid.uuid4()),
            server_labels=labels(server_labels),
        )
    )


@group.command(rpcs=("GetTenant",))
@click.argument("tenant_id", shell_complete=completion.tenants)
@api_command
async def get(session: Session, tenant_id: str) -> Message:
    """Show one tenant."""
    return await session.client.tenants.GetTenant(pb.GetTenantRequest(tenant_id=tenant_id))


@group.command("list", rpcs=("ListTenants",))
@limit_option
@api_command
async def list_tenants(session: Session, limit: int) -> Message:
    """List the tenants that you may see, by id."""
    return await first(session.client.tenants.ListTenants, pb.ListTenantsRequest(), limit)


@group.command(rpcs=("SuspendTenant",))
@click.argument("tenant_id", shell_complete=completion.tenants)
@api_command
async def suspend(session: Session, tenant_id: str) -> Message:
    """Close a tenant's database; nothing is deleted."""
    request = pb.SuspendTenantRequest(tenant_id=tenant_id)
    return await session.client.tenants.SuspendTenant(request)


@group.command(rpcs=("ResumeTenant",))
@click.argument("tenant_id", shell_complete=completion.tenants)
@api_command
async def resume(session: Session, tenant_id: str) -> Message:
    """Open a suspended tenant's database again."""
    request = pb.ResumeTenantRequest(tenant_id=tenant_id)
    return await session.client.tenants.ResumeTenant(request)


@group.command(rpcs=("CloneTenant",))
@click.argument("tenant_id", shell_complete=completion.tenants)
@click.argument("new_tenant_id")
@click.option("--name", help="The name shown to people; the first one's when absent.")
@click.option("--server", metavar="ID", help="The database server of the new tenant.")
@click.option("--request-id", help="The key of this clone: repeat it to go on with it.")
@no_wait_option
@api_command
async def clone(
    session: Session,
    tenant_id: str,
    new_tenant_id: str,
    *,
    name: str | None,
    server: str | None,
    request_id: str | None,
    no_wait: bool,
) -> Message:
    """Make a new tenant of a tenant's data, as it is now."""
    request = backup_service_pb2.CloneTenantRequest(
        tenant_id=tenant_id,
        new_tenant_id=new_tenant_id,
        new_name=name or "",
        server_id=server or "",
        request_id=request_id or str(uuid.uuid4()),
    )
    begun = await session.client.backups.CloneTenant(request)
    return await finished(session, begun.operation, no_wait=no_wait)


@group.command(rpcs=("UpdateTenant",))
@click.argument("tenant_id", shell_complete=completion.tenants)
@click.option("--name", required=True, help="The name shown to people.")
@api_command
async def update(session: Session, tenant_id: str, name: str) -> Message:
    """Change the name of a tenant."""
    request = pb.UpdateTenantRequest(tenant_id=tenant_id, name=name)
    return await session.client.tenants.UpdateTenant(request)


@group.command(rpcs=("DeleteTenant",))
@click.argument("tenant_id", shell_complete=completion.tenants)
@click.option(
    "--keep-days", type=click.IntRange(0, 3650), help="How long its data is kept; else as set."
)
@api_command
async def delete(session: Session, tenant_id: str, keep_days: int | None) -> Message:
    """Close a tenant; its data is kept until PURGE_TIME."""
    request = pb.DeleteTenantRequest(tenant_id=tenant_id)
    if keep_days is not None:
        request.retention.FromTimedelta(timedelta(days=keep_days))
    return await session.client.tenants.DeleteTenant(request)


@group.command(rpcs=("UndeleteTenant",))
@click.argument("tenant_id", shell_complete=completion.tenants)
@api_command
async def undelete(session: Session, tenant_id: str) -> Message:
    """Bring a deleted tenant back, suspended."""
    request = pb.UndeleteTenantRequest(tenant_id=tenant_id)
    return await session.client.tenants.UndeleteTenant(request)


@group.command(rpcs=("PurgeTenant",))
@click.argument("tenant_id", shell_complete=completion.tenants)
@click.option("--request-id", help="The key of this purge: repeat it to go on with one.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@no_wait_option
@api_command
async def purge(
    session: Session, tenant_id: str, *, request_id: str | None, yes: bool, no_wait: bool
) -> Message:
    """Remove all that is a deleted tenant's, for ever.

    It ends with a signed certificate: `nagaya tenant certificate` shows it.
    """
    if not yes:
        click.confirm(f"Remove everything of {tenant_id} for ever?", abort=True, err=True)
    begun = await session.client.tenants.PurgeTenant(
        pb.PurgeTenantRequest(tenant_id=tenant_id, request_id=request_id or str(uuid.uuid4()))
    )
    return await finished(session, begun.operation, no_wait=no_wait)


@group.command(rpcs=("GetDeletionCertificate",))
@click.argument("tenant_id")
@click.option("--file", type=click.File("wb"), default="-", help="Where to; else standard output.")
@api_command
async def certificate(session: Session, tenant_id: str, file: BinaryIO) -> None:
    """Fetch the certificate of a purged tenant."""
    request = pb.GetDeletionCertificateRequest(tenant_id=tenant_id)
    found = await session.client.tenants.GetDeletionCertificate(request)
    file.write(found.certificate)


@group.command(rpcs=("RepairTenants",))
@click.option("--dry-run", is_flag=True, help="Report only.")
@click.option("--remove", multiple=True, metavar="NAME", help="Remove this finding too.")
@api_command
async def doctor(session: Session, *, dry_run: bool, remove: tuple[str, ...]) -> Message:
    """Find what belongs to no tenant, and remove it.

    What might be wanted is kept and reported, unless --remove names it.
    """
    request = pb.RepairTenantsRequest(dry_run=dry_run, remove=remove)
    found = await session.client.tenants.RepairTenants(request)
    for unchecked in found.unchecked:
        click.echo(f"not looked at: {unchecked}", err=True)
    return found


@group.command("rotate-passwords", rpcs=("RotatePasswords",))
@click.argument("tenant_id", required=False, shell_complete=completion.tenants)
@click.option("--management", is_flag=True, help="The management database's roles instead.")
@click.option("--request-id", help="The key of this rotation: repeat it to finish one.")
@no_wait_option
@api_command
async def rotate_passwords(
    session: Session,
    tenant_id: str | None,
    request_id: str | None,
    *,
    management: bool,
    no_wait: bool,
) -> Message:
    """Give a tenant's database roles new passwords.

    No call fails by it.
    """
    if management == bool(tenant_id):
        raise click.UsageError("whose passwords? TENANT_ID names a tenant, or --management")
    request = RotatePasswordsRequest(
        tenant_id=tenant_id or "", request_id=request_id or str(uuid.uuid4())
    )
    begun = await session.client.secrets.RotatePasswords(request)
    return await finished(session, begun.operation, no_wait=no_wait)


@group.command(rpcs=("MoveTenant",))
@click.argument("tenant_id", shell_complete=completion.tenants)
@click.argument("server_id", shell_complete=completion.servers)
@click.option("--request-id", help="The key of this move: repeat it to finish one.")
@no_wait_option
@api_command
async def move(
    session: Session, tenant_id: str, server_id: str, request_id: str | None, *, no_wait: bool
) -> Message:
    """Move a tenant's database to another server, in use."""
    begun = await session.client.tenants.MoveTenant(
        pb.MoveTenantRequest(
            tenant_id=tenant_id, server_id=server_id, request_id=request_id or str(uuid.uuid4())
        )
    )
    return await finished(session, begun.operation, no_wait=no_wait)


group.add_command(export_tenant)
group.add_command(import_tenant)
