"""`nagaya bundle`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nagaya_client import bundles
from nagaya_client.cli.command import FORMATS, Group, output_options
from nagaya_client.cli.operations import bytes_shown
from nagaya_client.cli.output import Printer
from nagaya_client.cli.session import Session, api_command, tenant_option
from nagaya_client.cli.tenant_transfers import fetched

_PATH = click.Path(exists=True, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_NEW_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group(cls=Group)
def group() -> None:
    """Bundles of tenants: fetched again, and verified without any server."""


@group.command(rpcs=("DownloadBundle",))
@tenant_option
@click.argument("bundle_id")
@click.option("--to", "target", type=_NEW_FILE, required=True, help="The tar to write.")
@api_command
async def fetch(session: Session, *, tenant: str, bundle_id: str, target: Path) -> None:
    """Fetch a bundle that an export has written.

    `nagaya operation get` shows its id as `result.bundle_id`. It is kept for a limited time.
    """
    await fetched(session, tenant, bundle_id, target)


@group.command()
@click.argument("path", metavar="FILE", type=_PATH)
@click.option(
    "--jwks",
    type=_FILE,
    help="The public keys of the installation that wrote it: its NAGAYA_JWKS_FILE.",
)
@click.option("--unsigned", is_flag=True, help="Verify everything but the signature.")
@output_options
def verify(
    *, path: Path, jwks: Path | None, unsigned: bool, output: str | None, no_headers: bool
) -> None:
    """Verify a bundle, a tar or a directory, without any server.

    Signature, every file, and the chain of the audit log; exits with 1 if anything is not as it
    was written.
    """
    if (jwks is None) is not unsigned:
        raise click.UsageError("--jwks names the keys, or --unsigned does without; one of them")
    keys = None if jwks is None else jwks.read_bytes()
    with bytes_shown(f"verifying {path.name}") as show:
        found = bundles.verified(path, keys, show)
    manifest = found.manifest
    record: dict[str, Any] = {
        "tenant": manifest.tenant.tenant_id,
        "name": manifest.tenant.name,
        "created": manifest.create_time.isoformat(),
        "tables": len(manifest.tables),
        "rows": sum(table.rows for table in manifest.tables),
        "objects": manifest.objects.count,
        "bytes": found.size_bytes,
        "audit_entries": manifest.audit.sequence,
        "audit_digest": manifest.audit.digest,
        "signature": "not verified" if keys is None else "valid",
    }
    Printer(output or FORMATS[0], headers=not no_headers).show_records([record])
