"""Names of tenants, pipelines, runs and so on, for the shell's completion."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from nagaya.runs.v1 import (
    approval_pb2,
    approval_service_pb2,
    pipeline_service_pb2,
    prompt_service_pb2,
    run_service_pb2,
    schedule_service_pb2,
)
from nagaya.tenant.v1 import server_service_pb2, tenant_service_pb2
from nagaya_client.client import Client
from nagaya_client.errors import NagayaError
from nagaya_client.paging import first
from nagaya_client.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import click

_NAMES = 200
_SECONDS = 2.0


def tenants(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the tenants whose id begins so; none when Nagaya cannot be asked."""

    async def ask(client: Client, _: str) -> list[str]:
        request = tenant_service_pb2.ListTenantsRequest()
        listed = await first(client.tenants.ListTenants, request, _NAMES)
        return [tenant.tenant_id for tenant in listed.tenants]

    return _names(context, incomplete, ask)


def pipelines(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the tenant's pipelines whose name begins so; none when Nagaya cannot be asked."""

    async def ask(client: Client, tenant_id: str) -> list[str]:
        request = pipeline_service_pb2.ListPipelineVersionsRequest(tenant_id=tenant_id)
        listed = await first(client.pipelines.ListPipelineVersions, request, _NAMES)
        return sorted({version.pipeline for version in listed.pipeline_versions})

    return _names(context, incomplete, ask)


def runs(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the tenant's newest runs whose id begins so; none when Nagaya cannot be asked."""

    async def ask(client: Client, tenant_id: str) -> list[str]:
        request = run_service_pb2.ListRunsRequest(tenant_id=tenant_id)
        listed = await first(client.runs.ListRuns, request, _NAMES)
        return [run.run_id for run in listed.runs]

    return _names(context, incomplete, ask)


def steps(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the steps of the run that the command names; none when Nagaya cannot be asked."""
    # Where an option still lacks its value, click leaves the arguments as they are.
    run_id = str(context.params.get("run_id") or next(iter(context.args), ""))

    async def ask(client: Client, tenant_id: str) -> list[str]:
        request = run_service_pb2.ListRunStepsRequest(tenant_id=tenant_id, run_id=run_id)
        listed = await first(client.runs.ListRunSteps, request, _NAMES)
        return sorted({step.step for step in listed.run_steps})

    return _names(context, incomplete, ask) if run_id else []


def approvals(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the open approvals whose id begins so; none when Nagaya cannot be asked."""

    async def ask(client: Client, tenant_id: str) -> list[str]:
        request = approval_service_pb2.ListApprovalsRequest(
            tenant_id=tenant_id, state=approval_pb2.APPROVAL_STATE_OPEN
        )
        listed = await first(client.approvals.ListApprovals, request, _NAMES)
        return [approval.approval_id for approval in listed.approvals]

    return _names(context, incomplete, ask)


def schedules(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the tenant's schedules whose name begins so; none when Nagaya cannot be asked."""

    async def ask(client: Client, tenant_id: str) -> list[str]:
        request = schedule_service_pb2.ListSchedulesRequest(tenant_id=tenant_id)
        listed = await first(client.schedules.ListSchedules, request, _NAMES)
        return [schedule.schedule for schedule in listed.schedules]

    return _names(context, incomplete, ask)


def prompts(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the tenant's prompts whose name begins so; none when Nagaya cannot be asked."""

    async def ask(client: Client, tenant_id: str) -> list[str]:
        request = prompt_service_pb2.ListPromptVersionsRequest(tenant_id=tenant_id)
        listed = await first(client.prompts.ListPromptVersions, request, _NAMES)
        return sorted({version.step for version in listed.prompt_versions})

    return _names(context, incomplete, ask)


def servers(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the database servers whose id begins so; none when Nagaya cannot be asked."""

    async def ask(client: Client, _: str) -> list[str]:
        listed = await first(
            client.servers.ListServers, server_service_pb2.ListServersRequest(), _NAMES
        )
        return [server.server_id for server in listed.servers]

    return _names(context, incomplete, ask)


def _names(
    context: click.Context, incomplete: str, ask: Callable[[Client, str], Awaitable[list[str]]]
) -> list[str]:
    given = {name: context.params.get(name) or "" for name in ("profile", "token_file", "tenant")}
    try:
        settings = replace(read_settings(given), timeout_seconds=_SECONDS)

        async def connected() -> list[str]:
            async with Client.connect(settings) as client:
                return await ask(client, settings.tenant)

        found = asyncio.run(connected())
    except NagayaError:
        return []
    return [name for name in found if name.startswith(incomplete)]
