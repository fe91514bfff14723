"""`nagaya schema`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nagaya.tenant.v1 import drift_pb2
from nagaya.tenant.v1 import schema_service_pb2 as pb
from nagaya_client.cli import failures, values
from nagaya_client.cli.command import Group
from nagaya_client.cli.session import Session, api_command, limit_option
from nagaya_client.paging import first

if TYPE_CHECKING:
    from google.protobuf.message import Message


@click.group(cls=Group)
def group() -> None:
    """How far each database has come with its migrations, and what has drifted."""


@group.command(rpcs=("GetSchemaStatus",))
@click.option("-t", "--tenant", "only", metavar="ID", default="", help="Only this tenant.")
@limit_option
@api_command
async def status(session: Session, only: str, limit: int) -> Message:
    """List how far each database is, by tenant and service."""
    request = pb.GetSchemaStatusRequest(tenant_id=only)
    return await first(session.client.schema.GetSchemaStatus, request, limit)


@group.command(rpcs=("CheckDrift",))
@click.option("-t", "--tenant", "only", metavar="ID", default="", help="Only this tenant.")
@api_command
async def drift(session: Session, only: str) -> None:
    """Compare databases with what their migrations make.

    One line for each object that differs. Exits with 1 when there is one, with 7 when there is none
    but not every database could be looked at.
    """
    records: list[dict[str, str]] = []
    checked = unchecked = 0
    async for response in session.client.schema.CheckDrift(pb.CheckDriftRequest(tenant_id=only)):
        if not response.HasField("drift"):
            continue
        found = response.drift
        checked, unchecked = checked + 1, unchecked + bool(found.unchecked_reason)
        if found.unchecked_reason:
            click.echo(f"{found.tenant_id}: not looked at: {found.unchecked_reason}", err=True)
        records += [_difference(found.tenant_id, one) for one in found.differences]
        if session.on_terminal:
            click.echo(f"{checked:,} of {response.tenant_count:,} tenants\r", err=True, nl=False)
    session.printer.show_records(records)
    differing = len({record["tenant"] for record in records})
    click.echo(f"{differing:,} of {checked - unchecked:,} tenants differ", err=True)
    if records or unchecked:
        raise failures.CommandExit(failures.FAILED if records else failures.PARTIAL)


def _difference(tenant_id: str, found: drift_pb2.SchemaDifference) -> dict[str, str]:
    return {
        "tenant": tenant_id,
        "difference": values.name_of(drift_pb2.SchemaDifferenceKind, found.difference),
        "kind": found.kind,
        "name": found.name,
        "expected": " ".join(found.expected.split()),
        "found": " ".join(found.found.split()),
    }
