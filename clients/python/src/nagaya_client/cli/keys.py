"""`nagaya keys`."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import click

from nagaya.tenant.v1 import secret_service_pb2 as pb
from nagaya_client.cli.command import Group
from nagaya_client.cli.operations import finished, no_wait_option
from nagaya_client.cli.session import Session, api_command

if TYPE_CHECKING:
    from google.protobuf.message import Message


@click.group(cls=Group)
def group() -> None:
    """The keys that encrypt secrets."""


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
    """Encrypt every secret with the active key; calls go on meanwhile.

    With a key management service it makes a new key first. With a key ring in a file, add a key to
    the files of all processes, then make it active, then call this.
    """
    request = pb.RotateKeysRequest(request_id=request_id or str(uuid.uuid4()))
    begun = await session.client.secrets.RotateKeys(request)
    return await finished(session, begun.operation, no_wait=no_wait)
