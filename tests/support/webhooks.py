"""Webhook endpoints of the tenant acme, and runs that they are told of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runs.domain.runs import RunStatus
from runs.domain.webhooks import WebhookSpec
from runs.store import run_transitions, webhook_deliveries, webhook_endpoints

if TYPE_CHECKING:
    from tests.support.runs_service import RunsService

    from runs.domain.webhooks import Delivery, WebhookEndpoint

WHOLE = [(1, "run.pending"), (2, "run.running"), (3, "run.completed")]


async def create(service: RunsService, url: str, *types: str, name: str = "ours") -> str:
    spec = WebhookSpec(url, types, ())
    return (await service.webhooks.create("acme", name, name, spec))[1]


async def completed(service: RunsService, ended: RunStatus = RunStatus.COMPLETED) -> str:
    """Create a run, have it begin and complete, or end otherwise; return its id."""
    run = await service.run()
    await service.begin(run.run_id)
    async with service.tenants.transaction("acme") as connection:
        assert await run_transitions.finish(connection, run.run_id, 1, ended) is not None
    return run.run_id


async def delivery(service: RunsService, run_id: str, name: str = "ours") -> Delivery:
    async with service.tenants.connection("acme") as connection:
        page = await webhook_deliveries.page(connection, name, "", 200, "")
    assert page is not None
    (found,) = [one for one in page.items if one.run_id == run_id]
    return found


async def endpoint(service: RunsService, name: str = "ours") -> WebhookEndpoint:
    async with service.tenants.connection("acme") as connection:
        found = await webhook_endpoints.find(connection, name)
    assert found is not None
    return found
