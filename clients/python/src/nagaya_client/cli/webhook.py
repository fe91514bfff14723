"""`nagaya webhook`."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from nagaya.runs.v1 import webhook_pb2
from nagaya.runs.v1 import webhook_service_pb2 as pb
from nagaya_client import webhooks
from nagaya_client.cli import completion
from nagaya_client.cli.command import Group
from nagaya_client.cli.session import (
    Session,
    api_command,
    choice_of,
    chosen,
    limit_option,
    tenant_option,
)
from nagaya_client.errors import BytesCorrupt
from nagaya_client.paging import first

if TYPE_CHECKING:
    from google.protobuf.message import Message

_SECRET_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group(cls=Group)
def group() -> None:
    """Webhooks: where events of runs are sent, signed."""


@group.command(rpcs=("CreateWebhookEndpoint",))
@click.argument("endpoint")
@click.argument("url")
@click.option("--event", "event_types", multiple=True, help="A type, such as run.completed.")
@click.option("--pipeline", "pipelines", multiple=True, help="Only of runs of this pipeline.")
@click.option("--request-id", help="The key of this creation, to repeat it without harm.")
@tenant_option
@api_command
async def create(
    session: Session,
    *,
    endpoint: str,
    url: str,
    event_types: tuple[str, ...],
    pipelines: tuple[str, ...],
    request_id: str | None,
    tenant: str,
) -> Message:
    """Create an endpoint; its secret is shown this once."""
    request = pb.CreateWebhookEndpointRequest(
        tenant_id=tenant,
        request_id=request_id or str(uuid.uuid4()),
        endpoint=endpoint,
        spec=webhook_pb2.WebhookSpec(url=url, event_types=event_types, pipelines=pipelines),
    )
    return await session.client.webhooks.CreateWebhookEndpoint(request)


@group.command(rpcs=("GetWebhookEndpoint",))
@click.argument("endpoint")
@tenant_option
@api_command
async def get(session: Session, endpoint: str, tenant: str) -> Message:
    """Show one endpoint, and how many deliveries fail."""
    request = pb.GetWebhookEndpointRequest(tenant_id=tenant, endpoint=endpoint)
    return await session.client.webhooks.GetWebhookEndpoint(request)


@group.command("list", rpcs=("ListWebhookEndpoints",))
@tenant_option
@limit_option
@api_command
async def list_endpoints(session: Session, tenant: str, limit: int) -> Message:
    """List endpoints, by name."""
    request = pb.ListWebhookEndpointsRequest(tenant_id=tenant)
    return await first(session.client.webhooks.ListWebhookEndpoints, request, limit)


@group.command(rpcs=("UpdateWebhookEndpoint",))
@click.argument("endpoint")
@click.argument("url")
@click.option("--event", "event_types", multiple=True, help="A type, such as run.completed.")
@click.option("--pipeline", "pipelines", multiple=True, help="Only of runs of this pipeline.")
@click.option("--disabled", is_flag=True, help="Nothing is sent.")
@tenant_option
@api_command
async def update(
    session: Session,
    *,
    endpoint: str,
    url: str,
    event_types: tuple[str, ...],
    pipelines: tuple[str, ...],
    disabled: bool,
    tenant: str,
) -> Message:
    """Replace where events are sent and which."""
    request = pb.UpdateWebhookEndpointRequest(
        tenant_id=tenant,
        endpoint=endpoint,
        spec=webhook_pb2.WebhookSpec(url=url, event_types=event_types, pipelines=pipelines),
        disabled=disabled,
    )
    return await session.client.webhooks.UpdateWebhookEndpoint(request)


@group.command("rotate-secret", rpcs=("RotateWebhookSecret",))
@click.argument("endpoint")
@click.option("--request-id", help="The key of this rotation, to repeat it without harm.")
@tenant_option
@api_command
async def rotate_secret(
    session: Session, endpoint: str, request_id: str | None, tenant: str
) -> Message:
    """Make a new secret and show it.

    For 24 hours the former one is valid too.
    """
    request = pb.RotateWebhookSecretRequest(
        tenant_id=tenant, endpoint=endpoint, request_id=request_id or str(uuid.uuid4())
    )
    return await session.client.webhooks.RotateWebhookSecret(request)


@group.command(rpcs=("DeleteWebhookEndpoint",))
@click.argument("endpoint")
@tenant_option
@api_command
async def delete(session: Session, endpoint: str, tenant: str) -> Message:
    """Delete an endpoint with its secret."""
    request = pb.DeleteWebhookEndpointRequest(tenant_id=tenant, endpoint=endpoint)
    return await session.client.webhooks.DeleteWebhookEndpoint(request)


@group.command(rpcs=("ListWebhookDeliveries",))
@click.argument("endpoint")
@click.option(
    "--state", type=choice_of(webhook_pb2.WebhookDeliveryState), help="Only those that stand so."
)
@tenant_option
@limit_option
@api_command
async def deliveries(
    session: Session, endpoint: str, state: str | None, tenant: str, limit: int
) -> Message:
    """List how far an endpoint has been told of each run."""
    request = pb.ListWebhookDeliveriesRequest(
        tenant_id=tenant,
        endpoint=endpoint,
        state=chosen(webhook_pb2.WebhookDeliveryState, state),
    )
    return await first(session.client.webhooks.ListWebhookDeliveries, request, limit)


@group.command(rpcs=("ReplayWebhookDeliveries",))
@click.argument("endpoint")
@click.option(
    "--run", "run_id", default="", shell_complete=completion.runs, help="All events of this run."
)
@click.option("--from", "from_sequence", type=click.IntRange(0), default=0, help="From this one.")
@tenant_option
@api_command
async def replay(
    session: Session, endpoint: str, run_id: str, from_sequence: int, tenant: str
) -> Message:
    """Send again what failed, or all events of one run."""
    if from_sequence and not run_id:
        raise click.UsageError("of which run? --run names it")
    request = pb.ReplayWebhookDeliveriesRequest(
        tenant_id=tenant, endpoint=endpoint, run_id=run_id, from_sequence=from_sequence
    )
    return await session.client.webhooks.ReplayWebhookDeliveries(request)


@group.command()
@click.argument("body", type=click.File("rb"))
@click.option("--secret-file", required=True, type=_SECRET_FILE, help="It holds whsec_…")
@click.option("--id", "message_id", required=True, help="The header webhook-id.")
@click.option("--timestamp", required=True, help="The header webhook-timestamp.")
@click.option("--signature", required=True, help="The header webhook-signature.")
@click.option(
    "--tolerance", type=click.IntRange(0), default=300, show_default=True,
    help="How old it may be, in seconds; 0 for any age.",
)  # fmt: skip
def verify(
    *,
    body: BinaryIO,
    secret_file: Path,
    message_id: str,
    timestamp: str,
    signature: str,
    tolerance: int,
) -> None:
    """Verify a message that came, without any server.

    BODY is its file, `-` standard input. Exits with 1 when it was not signed with the secret, or
    is too old.
    """
    headers = {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": signature,
    }
    secret = secret_file.read_text().strip()
    fault = webhooks.fault(secret, headers, body.read(), tolerance or None)
    if fault:
        raise BytesCorrupt(f"the message is not valid: {fault}")
    click.echo("valid")
