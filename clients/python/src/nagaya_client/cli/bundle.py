"""`nagaya bundle`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nagaya_client import bundles
from nagaya_client.cli.command import FORMATS, Group, output_options
from nagaya_client.cli.output import Printer

_PATH = click.Path(exists=True, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group(cls=Group)
def group() -> None:
    """Bundles of tenants, verified without any server."""


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
    found = bundles.verified(path, keys)
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
