"""`nagaya limits`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nagaya.runs.v1 import tenant_limit_service_pb2 as pb
from nagaya_client.cli.command import Group
from nagaya_client.cli.session import Session, api_command, tenant_option

if TYPE_CHECKING:
    from google.protobuf.message import Message


@click.group(cls=Group)
def group() -> None:
    """Limits of tenants: their weight beside others, slots, runs at once, starts."""


@group.command(rpcs=("GetTenantLimits",))
@tenant_option
@api_command
async def get(session: Session, tenant: str) -> Message:
    """Show a tenant's limits."""
    request = pb.GetTenantLimitsRequest(tenant_id=tenant)
    return await session.client.tenant_limits.GetTenantLimits(request)


@group.command("set", rpcs=("SetTenantLimits",))
@click.option("--weight", type=float, default=1.0, help="Beside other tenants; 1 is usual.")
@click.option("--max-steps", type=int, default=0, help="At once on one worker; 0: its share.")
@click.option("--starts", type=int, default=0, help="Runs that start in a minute; 0: any number.")
@click.option("--max-runs", type=int, default=0, help="Under way at once; 0: as workers can do.")
@tenant_option
@api_command
async def set_limits(
    session: Session, weight: float, max_steps: int, starts: int, max_runs: int, tenant: str
) -> Message:
    """Set all limits of a tenant; what is not given is as usual."""
    limits = pb.TenantLimits(
        weight=weight, max_steps=max_steps, starts_per_minute=starts, max_runs=max_runs
    )
    request = pb.SetTenantLimitsRequest(tenant_id=tenant, limits=limits)
    return await session.client.tenant_limits.SetTenantLimits(request)
