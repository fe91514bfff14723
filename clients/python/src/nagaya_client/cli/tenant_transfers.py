"""`nagaya tenant export` and `nagaya tenant import`."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nagaya.tenant.v1 import operation_pb2
from nagaya.tenant.v1 import transfer_service_pb2 as transfers
from nagaya_client import bundles
from nagaya_client.cli import completion
from nagaya_client.cli.command import Command
from nagaya_client.cli.operations import bytes_shown, finished, no_wait_option
from nagaya_client.cli.session import Session, api_command
from nagaya_client.errors import ApiError

if TYPE_CHECKING:
    from google.protobuf.message import Message

_NEW_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("export", cls=Command, rpcs=("CreateExport",))
@click.argument("tenant_id", shell_complete=completion.tenants)
@click.option("--to", "target", type=_NEW_FILE, required=True, help="The tar to write.")
@click.option(
    "--drain", is_flag=True, help="Wait for runs in flight, instead of refusing because of them."
)
@click.option(
    "--drain-seconds", type=click.IntRange(1), default=3600, show_default=True, help="How long."
)
@click.option("--request-id", help="The key of this export: repeat it to go on with one.")
@no_wait_option
@api_command
async def export_tenant(
    session: Session,
    *,
    tenant_id: str,
    target: Path,
    drain: bool,
    drain_seconds: int,
    request_id: str | None,
    no_wait: bool,
) -> Message:
    """Write everything of a tenant into a bundle.

    The tenant goes on working. Runs in flight cannot be moved: with some, it is refused, or waits
    for a moment without any (--drain). `nagaya bundle verify` verifies the file, `nagaya tenant
    import` makes a tenant of it, in any installation.
    """
    request = transfers.CreateExportRequest(
        tenant_id=tenant_id,
        request_id=request_id or str(uuid.uuid4()),
        drain=drain,
        drain_seconds=drain_seconds if drain else 0,
    )
    begun = (await session.client.transfers.CreateExport(request)).operation
    ended = await finished(session, begun, no_wait=no_wait)
    if ended.operation.state == operation_pb2.OPERATION_STATE_DONE:
        await fetched(session, tenant_id, ended.operation.result["bundle_id"], target)
    elif no_wait:
        click.echo(
            f"fetch it later: the same command with --request-id {request.request_id}", err=True
        )
    return ended


async def fetched(session: Session, tenant_id: str, bundle_id: str, target: Path) -> None:
    """Fetch an exported bundle; tell how to do it again if that fails. Raises what it raises."""
    try:
        with bytes_shown(f"fetching {target.name}") as show:
            await bundles.fetch(session.client.transfers, tenant_id, bundle_id, target, show)
    except BaseException:
        again = f"nagaya bundle fetch {bundle_id} --tenant {tenant_id} --to {target}"
        click.echo(f"the bundle is there; fetch it again: {again}", err=True)
        raise


@click.command("import", cls=Command, rpcs=("CreateImport", "UploadBundle"))
@click.argument("path", metavar="FILE", type=click.Path(exists=True, path_type=Path))
@click.option("--as", "tenant_id", metavar="ID", help="The new tenant's id; the old one if absent.")
@click.option("--name", default="", help="The name shown to people; the old one when absent.")
@click.option(
    "--jwks",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The public keys of the installation that wrote it: its NAGAYA_JWKS_FILE.",
)
@click.option("--server", "server_id", default="", help="The database server; any when absent.")
@click.option("--request-id", help="The key of this import: repeat it to go on with one.")
@no_wait_option
@api_command
async def import_tenant(
    session: Session,
    *,
    path: Path,
    tenant_id: str | None,
    name: str,
    jwks: Path | None,
    server_id: str,
    request_id: str | None,
    no_wait: bool,
) -> Message:
    """Make a tenant of a bundle, a tar or a directory.

    It is verified first, here and there, and becomes active last. If anything is refused, nothing
    is left of it.
    """
    keys = await asyncio.to_thread(jwks.read_bytes) if jwks else None
    with bytes_shown(f"verifying {path.name}") as show:
        found = await asyncio.to_thread(bundles.verified, path, keys, show)
    if request_id is None:
        request_id = str(uuid.uuid4())
        click.echo(f"to go on if it breaks off: --request-id {request_id}", err=True)
    request = transfers.CreateImportRequest(
        tenant_id=tenant_id or found.manifest.tenant.tenant_id,
        request_id=request_id,
        bundle_id=_upload_id(request_id, found.manifest.bundle_id),
        name=name,
        jwks=(keys or b"").decode(),
        server_id=server_id,
    )
    begun = await _begun_import(session, request, path)
    return await finished(session, begun.operation, no_wait=no_wait)


async def _begun_import(
    session: Session, request: transfers.CreateImportRequest, path: Path
) -> transfers.CreateImportResponse:
    """Begin an import; the bundle is sent unless it was, or is needed no more."""
    stub = session.client.transfers
    try:
        return await stub.CreateImport(request)
    except ApiError as error:
        if error.reason != "ERROR_REASON_BUNDLE_NOT_FOUND":
            raise
    with bytes_shown(f"sending {path.name}") as show:
        await bundles.send(stub, request.bundle_id, path, show)
    return await stub.CreateImport(request)


def _upload_id(request_id: str, bundle_id: str) -> str:
    """Return the same id for the same request and bundle, so that a repeated one goes on."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{request_id} {bundle_id}"))
