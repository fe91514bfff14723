"""`nagaya server`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nagaya.tenant.v1 import server_service_pb2 as pb
from nagaya_client.cli import completion
from nagaya_client.cli.command import Group
from nagaya_client.cli.operations import finished, no_wait_option
from nagaya_client.cli.session import Session, api_command, labels, limit_option
from nagaya_client.paging import first

if TYPE_CHECKING:
    from typing import TextIO

    from google.protobuf.message import Message


@click.group(cls=Group)
def group() -> None:
    """The PostgreSQL servers that tenants' databases are on."""


@group.command(rpcs=("RegisterServer",))
@click.argument("server_id", shell_complete=completion.servers)
@click.option(
    "--address-file",
    type=click.File(),
    metavar="FILE",
    help="Holds postgresql://role:password@host:port/database: the provisioner there, and a "
    "database of its own; - reads it from standard input. What is registered when absent.",
)
@click.option(
    "--label", "server_labels", metavar="NAME=VALUE", multiple=True, help="Such as region=eu."
)
@click.option("--max-tenants", type=click.IntRange(0), default=0, help="No limit when 0.")
@click.option(
    "--connections",
    type=click.IntRange(0),
    default=0,
    help="How many all services together may hold open to it; no limit when 0.",
)
@api_command
async def register(
    session: Session,
    server_id: str,
    address_file: TextIO | None,
    server_labels: tuple[str, ...],
    max_tenants: int,
    connections: int,
) -> Message:
    """Register a server, or replace its labels and limits.

    What it has and lacks is shown. Labels and limits that are not given are removed.
    """
    request = pb.RegisterServerRequest(
        server_id=server_id,
        address="" if address_file is None else address_file.read().strip(),
        labels=labels(server_labels),
        max_tenants=max_tenants,
        connection_budget=connections,
    )
    return await session.client.servers.RegisterServer(request)


@group.command(rpcs=("GetServer",))
@click.argument("server_id", shell_complete=completion.servers)
@api_command
async def get(session: Session, server_id: str) -> Message:
    """Show one server, with what it has and lacks."""
    return await session.client.servers.GetServer(pb.GetServerRequest(server_id=server_id))


@group.command("list", rpcs=("ListServers",))
@limit_option
@api_command
async def list_servers(session: Session, limit: int) -> Message:
    """List the servers, by id."""
    return await first(session.client.servers.ListServers, pb.ListServersRequest(), limit)


@group.command(rpcs=("DrainServer",))
@click.argument("server_id", shell_complete=completion.servers)
@click.option("--undo", is_flag=True, help="Place tenants on it again.")
@click.option("--move", "move_tenants", is_flag=True, help="Move the tenants that it has.")
@click.option("--lost", is_flag=True, help="It never comes back: wait for it no longer.")
@no_wait_option
@api_command
async def drain(
    session: Session, server_id: str, *, undo: bool, move_tenants: bool, lost: bool, no_wait: bool
) -> Message:
    """Place no more tenants on a server.

    Those that it has stay, unless --move moves them to others; called again it goes on. Of a server
    that is lost, restore each tenant on another one.
    """
    drained = await session.client.servers.DrainServer(
        pb.DrainServerRequest(server_id=server_id, undo=undo, move_tenants=move_tenants, lost=lost)
    )
    if not move_tenants:
        return drained
    return await finished(session, drained.operation, no_wait=no_wait)


@group.command(rpcs=("UnregisterServer",))
@click.argument("server_id", shell_complete=completion.servers)
@api_command
async def unregister(session: Session, server_id: str) -> Message:
    """Forget a server that holds no tenants any more.

    Drain it with --move before. Nothing is changed on the server, which may be gone.
    """
    request = pb.UnregisterServerRequest(server_id=server_id)
    return await session.client.servers.UnregisterServer(request)
