"""`nagaya rollout`."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import click

from nagaya.tenant.v1 import operation_service_pb2, rollout_pb2
from nagaya.tenant.v1 import schema_service_pb2 as pb
from nagaya_client.cli import failures, hints
from nagaya_client.cli.command import Group
from nagaya_client.cli.operations import no_wait_option, watched
from nagaya_client.cli.session import (
    Session,
    api_command,
    choice_of,
    chosen,
    limit_option,
)
from nagaya_client.paging import first

if TYPE_CHECKING:
    from google.protobuf.message import Message


@click.group(cls=Group)
def group() -> None:
    """Published migrations on their way to the tenants' databases."""


@group.command(rpcs=("CreateRollout",))
@click.option("--canary", "canaries", metavar="ID", multiple=True, help="A tenant of the canary.")
@click.option(
    "--canary-count", type=click.IntRange(1, 100), help="Tenants of the canary if none is named: 5."
)
@click.option(
    "--percent",
    "percents",
    type=click.IntRange(1, 100),
    multiple=True,
    help="Share that has been migrated after a further wave; repeat it. 10 and 100 when absent.",
)
@click.option(
    "--failure-budget",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="How many tenants may fail before it pauses.",
)
@click.option("--concurrency", type=click.IntRange(1, 16), help="Tenants at once: 8.")
@click.option("--request-id", help="The key of this rollout: repeat it to resume it.")
@no_wait_option
@api_command
async def create(
    session: Session,
    *,
    canaries: tuple[str, ...],
    canary_count: int | None,
    percents: tuple[int, ...],
    failure_budget: int,
    concurrency: int | None,
    request_id: str | None,
    no_wait: bool,
) -> Message:
    """Apply what is published, one wave of tenants after another.

    Exits with 1 if it pauses.
    """
    request = pb.CreateRolloutRequest(
        request_id=request_id or str(uuid.uuid4()),
        canary_tenant_ids=canaries,
        canary_count=canary_count or 0,
        wave_percents=percents,
        failure_budget=failure_budget,
        concurrency=concurrency or 0,
    )
    begun = (await session.client.schema.CreateRollout(request)).rollout
    return await _ended(session, begun.rollout_id, no_wait=no_wait)


@group.command(rpcs=("GetRollout",))
@click.argument("rollout_id")
@api_command
async def get(session: Session, rollout_id: str) -> Message:
    """Show one rollout and its waves."""
    return await _get(session, rollout_id)


@group.command("list", rpcs=("ListRollouts",))
@limit_option
@api_command
async def list_rollouts(session: Session, limit: int) -> Message:
    """List rollouts, the newest first."""
    return await first(session.client.schema.ListRollouts, pb.ListRolloutsRequest(), limit)


@group.command(rpcs=("ListRolloutTenants",))
@click.argument("rollout_id")
@click.option(
    "--state", type=choice_of(rollout_pb2.RolloutTenantState), help="Only those in this state."
)
@limit_option
@api_command
async def tenants(session: Session, rollout_id: str, state: str | None, limit: int) -> Message:
    """List the tenants of a rollout, and what failed where."""
    request = pb.ListRolloutTenantsRequest(
        rollout_id=rollout_id, state=chosen(rollout_pb2.RolloutTenantState, state)
    )
    return await first(session.client.schema.ListRolloutTenants, request, limit)


@group.command()
@click.argument("rollout_id")
@api_command
async def watch(session: Session, rollout_id: str) -> Message:
    """Show a rollout until it has ended or paused.

    Exits with 1 if it is not done then.
    """
    return await _ended(session, rollout_id)


@group.command(rpcs=("PauseRollout",))
@click.argument("rollout_id")
@api_command
async def pause(session: Session, rollout_id: str) -> Message:
    """Begin with no further tenant."""
    return await session.client.schema.PauseRollout(pb.PauseRolloutRequest(rollout_id=rollout_id))


@group.command(rpcs=("ResumeRollout",))
@click.argument("rollout_id")
@click.option(
    "--failure-budget", type=click.IntRange(0), help="How many may fail from now on; else as it is."
)
@no_wait_option
@api_command
async def resume(
    session: Session, rollout_id: str, *, failure_budget: int | None, no_wait: bool
) -> Message:
    """Go on with a paused rollout, with those first that have failed."""
    request = pb.ResumeRolloutRequest(rollout_id=rollout_id, failure_budget=failure_budget)
    await session.client.schema.ResumeRollout(request)
    return await _ended(session, rollout_id, no_wait=no_wait)


async def _get(session: Session, rollout_id: str) -> pb.GetRolloutResponse:
    return await session.client.schema.GetRollout(pb.GetRolloutRequest(rollout_id=rollout_id))


async def _ended(
    session: Session, rollout_id: str, *, no_wait: bool = False
) -> pb.GetRolloutResponse:
    """Show a rollout until it has ended or paused; exit with 1 unless it is done."""
    if not no_wait:
        request = operation_service_pb2.GetOperationRequest(operation_id=rollout_id)
        begun = await session.client.operations.GetOperation(request)
        await watched(session, begun.operation)
    found = await _get(session, rollout_id)
    if no_wait or found.rollout.state == rollout_pb2.ROLLOUT_STATE_DONE:
        return found
    session.printer.show(found)
    reason = hints.in_commands(found.rollout.pause_reason, {"rollout_id": rollout_id})
    click.echo(f"error: the rollout is not done: {reason}", err=True)
    raise failures.CommandExit(failures.FAILED)
