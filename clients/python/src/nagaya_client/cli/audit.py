"""`nagaya audit`."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nagaya.tenant.v1 import audit_service_pb2 as pb
from nagaya_client.audit_file import check_audit_log, write_audit_log
from nagaya_client.cli import failures
from nagaya_client.cli.command import FORMATS, Group
from nagaya_client.cli.output import Printer
from nagaya_client.cli.session import Session, api_command, limit_option, tenant_option
from nagaya_client.paging import first

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

Decorated = TypeVar("Decorated", bound="Callable[..., Any]")

_FILE = click.Path(dir_okay=False, exists=True, path_type=Path)
_PATH = click.Path(exists=True, path_type=Path)


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


def _owner_options(command: Decorated) -> Decorated:
    tenant = click.option("-t", "--tenant", "owner", metavar="ID", help="Else the profile's.")
    management = click.option(
        "--management", is_flag=True, help="The log of the management database instead."
    )
    return tenant(management(command))


def _owner(session: Session, owner: str | None, *, management: bool) -> str:
    tenant = "" if management else owner or session.settings.tenant
    if not tenant and not management:
        raise click.UsageError("whose log? --tenant names it, or --management")
    return tenant


@api_command
async def _verify(
    session: Session, *, owner: str | None, management: bool, known: tuple[int, str]
) -> None:
    sequence, digest = known
    request = pb.VerifyAuditLogRequest(
        tenant_id=_owner(session, owner, management=management),
        known_sequence=sequence,
        known_digest=digest,
    )
    found = await session.client.audit.VerifyAuditLog(request)
    session.printer.show(found)
    _exit_with(found)


@group.command("verify", rpcs=("VerifyAuditLog",))
@_owner_options
@click.option(
    "--known",
    type=KnownEntry(),
    default=(0, ""),
    metavar="SEQUENCE:DIGEST",
    help="An entry that was noted before; the log must still have it.",
)
@click.option("--offline", type=_FILE, metavar="FILE", help="An exported log; no server is needed.")
@click.option(
    "--jwks",
    type=_FILE,
    metavar="FILE",
    help="With --offline: the services' public keys, which tell whether anchors are genuine.",
)
@click.option(
    "--anchors",
    type=_PATH,
    multiple=True,
    metavar="FILE",
    help="With --jwks: what the log must have, by a file of NAGAYA_AUDIT_ANCHOR_FOLDER, the "
    "manifest.json of a backup, a bundle, or a certificate of deletion.",
)
@functools.wraps(_verify)
def verify(
    *,
    offline: Path | None,
    jwks: Path | None,
    anchors: tuple[Path, ...],
    **online: Any,  # noqa: ANN401 - the options of the other way
) -> None:
    """Compute every digest of a log anew, and compare it with its anchors.

    Exits with 1 when the log is not as it was written. An exported log (`nagaya audit export`) is
    verified without a server; without --jwks its anchors are not looked at, and a log that was
    made anew as a whole is not noticed.
    """
    if offline is None:
        if jwks is not None or anchors:
            raise click.UsageError("--jwks and --anchors belong to --offline")
        _verify(**online)
        return
    if anchors and jwks is None:
        raise click.UsageError("--anchors needs --jwks, which tells whether they are genuine")
    known = online["known"] if online["known"][0] else None
    found = check_audit_log(offline, jwks, anchors, known)
    Printer(online["output"] or FORMATS[0], headers=not online["no_headers"]).show(found)
    _exit_with(found)


def _exit_with(found: pb.VerifyAuditLogResponse) -> None:
    if found.HasField("first_fault"):
        raise failures.CommandExit(failures.FAILED)


@group.command(rpcs=("ListAuditAnchors",))
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@_owner_options
@api_command
async def export(session: Session, *, file: Path, owner: str | None, management: bool) -> None:
    """Write a log and its anchors to a file.

    `nagaya audit verify --offline FILE` verifies it without a server.
    """
    tenant = _owner(session, owner, management=management)
    count = await write_audit_log(session.client, tenant, file)
    click.echo(f"{count:,} entries in {file}", err=True)
