"""`nagaya certificate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from nagaya_client.cli.command import FORMATS, Group, output_options
from nagaya_client.cli.output import Printer
from nagaya_client.errors import BytesCorrupt
from signing import PublicKeys, SignatureInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TYPE = "nagaya.deletion-certificate.v1"
SIGNER = "workload-tenant"

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group(cls=Group)
def group() -> None:
    """Certificates of deletion, verified without any server."""


@group.command()
@click.argument("file", type=_FILE)
@click.option(
    "--jwks", required=True, type=_FILE, help="The public keys of the installation that signed it."
)
@output_options
def verify(file: Path, jwks: Path, *, output: str | None, no_headers: bool) -> None:
    """Verify a certificate, and show what it says.

    Exits with 1 when it is not as it was signed. The signature says who certifies; what cannot be
    proven stands in the certificate itself.
    """
    try:
        keys = PublicKeys.from_jwks(jwks.read_bytes())
        document = keys.verify(file.read_bytes(), TYPE, SIGNER)
    except SignatureInvalid as error:
        raise BytesCorrupt(f"{file} is not valid: {error}") from None
    if output not in (None, "table"):
        Printer(output or FORMATS[0]).show_records([document])
        return
    _describe(document, headers=not no_headers)


def _count(found: object) -> object:
    return "unknown" if found is None else found


def _describe(document: Mapping[str, object], *, headers: bool) -> None:
    for name in ("certificate_id", "tenant_id", "installation", "requested_by", "requested_time"):
        click.echo(f"{name:<18} {document.get(name, '')}")
    click.echo(f"{'looked_again_time':<18} {document.get('looked_again_time') or ''}")
    if (log := cast("Mapping[str, object] | None", document.get("audit_log"))) is not None:
        click.echo(f"{'audit_log':<18} {log['sequence']} {log['digest']}")
    stores = cast("Sequence[Mapping[str, object]]", document["stores"])
    click.echo()
    Printer("table", headers=headers).show_records(
        [
            {
                "store": store["store"],
                "before": _count(store["found_before"]),
                "after": _count(store["found_after"]),
                "method": store["method"],
            }
            for store in stores
        ]
    )
    said = [*cast("Sequence[str]", document["unproven"])]
    said += [text for store in stores for text in cast("Sequence[str]", store["unproven"])]
    for heading, sentences in (("not proven", said), ("kept", document["kept"])):
        click.echo(f"\n{heading}:")
        for sentence in dict.fromkeys(cast("Sequence[str]", sentences)):
            click.echo(f"  {sentence}")
    sys.stdout.flush()
