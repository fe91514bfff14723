"""`nagaya keys`."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nagaya.tenant.v1 import secret_service_pb2 as pb
from nagaya_client import key_files
from nagaya_client.cli.command import Group
from nagaya_client.cli.operations import finished, no_wait_option
from nagaya_client.cli.session import Session, api_command

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

_PATH = click.Path(dir_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_KID = "issuer"


def _jwks_option(command: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--jwks",
        type=_PATH,
        help="The file of public keys to add to, NAGAYA_JWKS_FILE; made when it is missing.",
    )(command)


@click.group(cls=Group)
def group() -> None:
    """The keys that encrypt secrets, and those that sign."""


@group.command("list", rpcs=("GetKeyRing",))
@api_command
async def list_keys(session: Session) -> Message:
    """List the keys, and how many secrets each encrypts.

    A key that is not active and encrypts none may be removed from the key ring.
    """
    return await session.client.secrets.GetKeyRing(pb.GetKeyRingRequest())


@group.command(rpcs=("RotateKeys",))
@click.option("--request-id", help="The key of this rotation: repeat it to finish one.")
@no_wait_option
@api_command
async def rotate(session: Session, request_id: str | None, *, no_wait: bool) -> Message:
    """Encrypt every secret with the active key, under load.

    With a key management service it makes a new key first. With a key ring in a file, add a key to
    the files of all processes, then make it active, then call this.
    """
    request = pb.RotateKeysRequest(request_id=request_id or str(uuid.uuid4()))
    begun = await session.client.secrets.RotateKeys(request)
    return await finished(session, begun.operation, no_wait=no_wait)


@group.command()
@click.argument("workload", type=click.Choice(key_files.WORKLOADS))
@click.option("--to", type=_PATH, help="The private key's file; WORKLOAD.pem when absent.")
@_jwks_option
def new_workload(workload: str, to: Path | None, jwks: Path | None) -> None:
    """Make the key with which a service signs its calls to others.

    The private key is written to a file that only its owner may read, for NAGAYA_WORKLOAD_KEY_FILE
    of that service alone. Its public half is shown, or added to a JWKS. Needs no server.
    """
    _make(to or Path(f"{workload}.pem"), f"workload-{workload}", jwks)


@group.command()
@click.option(
    "--to", type=_PATH, default=f"{_KID}.pem", show_default=True, help="The private key's file."
)
@click.option("--kid", default=_KID, show_default=True, help="The name of the key.")
@_jwks_option
def new_issuer(to: Path, kid: str, jwks: Path | None) -> None:
    """Make the key of an issuer of people's tokens of your own.

    `nagaya keys sign-token` signs with it, where there is no other issuer. Needs no server.
    """
    if kid.startswith("workload-"):
        raise click.UsageError("such names are those of services' keys")
    _make(to, kid, jwks)


@group.command()
@click.argument("kid")
@click.option("--jwks", type=_FILE, required=True, help="The file of public keys.")
@click.option("--keep", type=_FILE, required=True, help="The private key that signs from now on.")
def retire(kid: str, jwks: Path, keep: Path) -> None:
    """Let all keys of a name expire but one.

    Such as those of workload-runs. They verify no token from then on, but the documents that they
    have signed: certificates of deletion, manifests of backups, anchors of audit logs. Needs no
    server.
    """
    click.echo(f"{key_files.retire(jwks, kid, keep)} keys {kid} of {jwks} have expired")


@group.command()
@click.argument("file", type=_PATH)
def new_ring(file: Path) -> None:
    """Make a key ring for the tenant service.

    NAGAYA_KEYRING_FILE names it. It encrypts the passwords of all databases: keep a copy where
    their backups are not. Needs no server.
    """
    key_files.new_ring(file)
    click.echo(f"{file} has a key ring with one key")


@group.command()
@click.option(
    "--key", type=_FILE, default=f"{_KID}.pem", show_default=True, help="The issuer's private key."
)
@click.option("--kid", default=_KID, show_default=True, help="The name of the key.")
@click.option("--issuer", required=True, help="NAGAYA_TOKEN_ISSUER of the services.")
@click.option("--user", required=True, help="Who it is for, as audit logs name them.")
@click.option("-t", "--tenant", "tenants", multiple=True, help="A tenant; '*' for all.")
@click.option("--permission", "permissions", multiple=True, help="Such as 'runs.*'; '*' for all.")
@click.option(
    "--hours",
    type=click.FloatRange(0, min_open=True),
    default=8,
    show_default=True,
    help="How long it is valid.",
)
def sign_token(
    key: Path,
    kid: str,
    issuer: str,
    user: str,
    tenants: tuple[str, ...],
    permissions: tuple[str, ...],
    hours: float,
) -> None:
    """Show a token for a person, signed with an issuer's key. Needs no server."""
    click.echo(key_files.sign_token(key, kid, issuer, user, tenants, permissions, hours))


def _make(to: Path, kid: str, jwks: Path | None) -> None:
    jwk = key_files.new_key(to, kid, jwks)
    if jwks is None:
        click.echo(json.dumps(jwk))
    else:
        click.echo(f"{to} has the private key, {jwks} its public half under {kid}")
