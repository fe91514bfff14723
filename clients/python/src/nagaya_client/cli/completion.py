"""Names of tenants and pipelines, for the shell's completion."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from nagaya.runs.v1 import pipeline_service_pb2
from nagaya.tenant.v1 import tenant_service_pb2
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
