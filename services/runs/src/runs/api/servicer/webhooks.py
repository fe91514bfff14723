"""The gRPC methods of WebhookService."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nagaya.runs.v1 import webhook_service_pb2 as pb
from nagaya.runs.v1 import webhook_service_pb2_grpc
from runs.errors.webhooks import WebhookEndpointNotFound
from runs.store import webhook_deliveries, webhook_endpoints
from runs.wire import webhooks as wire

if TYPE_CHECKING:
    from dataplane.tenants import TenantPools
    from interceptor.server import Context
    from runs.api.app.webhooks import Webhooks


class WebhookServicer(webhook_service_pb2_grpc.WebhookServiceServicer):
    """Unpacks requests, calls the app or a store, packs responses."""

    def __init__(self, app: Webhooks, tenants: TenantPools) -> None:
        self._app = app
        self._tenants = tenants

    async def CreateWebhookEndpoint(
        self, request: pb.CreateWebhookEndpointRequest, context: Context
    ) -> pb.CreateWebhookEndpointResponse:
        spec = wire.webhook_spec(request.spec)
        endpoint, secret = await self._app.create(
            request.tenant_id, request.request_id, request.endpoint, spec
        )
        return pb.CreateWebhookEndpointResponse(
            endpoint=wire.webhook_endpoint(endpoint), secret=secret
        )

    async def GetWebhookEndpoint(
        self, request: pb.GetWebhookEndpointRequest, context: Context
    ) -> pb.GetWebhookEndpointResponse:
        async with self._tenants.connection(request.tenant_id) as connection:
            found = await webhook_endpoints.find(connection, request.endpoint)
        if found is None:
            raise WebhookEndpointNotFound(request.endpoint)
        return pb.GetWebhookEndpointResponse(endpoint=wire.webhook_endpoint(found))

    async def ListWebhookEndpoints(
        self, request: pb.ListWebhookEndpointsRequest, context: Context
    ) -> pb.ListWebhookEndpointsResponse:
        async with self._tenants.connection(request.tenant_id) as connection:
            page = await webhook_endpoints.page(connection, request.page_size, request.page_token)
        return pb.ListWebhookEndpointsResponse(
            endpoints=map(wire.webhook_endpoint, page.items), next_page_token=page.next_token
        )

    async def UpdateWebhookEndpoint(
        self, request: pb.UpdateWebhookEndpointRequest, context: Context
    ) -> pb.UpdateWebhookEndpointResponse:
        spec = wire.webhook_spec(request.spec)
        changed = await self._app.update(
            request.tenant_id, request.endpoint, spec, disabled=request.disabled
        )
        return pb.UpdateWebhookEndpointResponse(endpoint=wire.webhook_endpoint(changed))

    async def RotateWebhookSecret(
        self, request: pb.RotateWebhookSecretRequest, context: Context
    ) -> pb.RotateWebhookSecretResponse:
        secret = await self._app.rotate_secret(
            request.tenant_id, request.endpoint, request.request_id
        )
        return pb.RotateWebhookSecretResponse(secret=secret)

    async def DeleteWebhookEndpoint(
        self, request: pb.DeleteWebhookEndpointRequest, context: Context
    ) -> pb.DeleteWebhookEndpointResponse:
        await self._app.delete(request.tenant_id, request.endpoint)
        return pb.DeleteWebhookEndpointResponse()

    async def ListWebhookDeliveries(
        self, request: pb.ListWebhookDeliveriesRequest, context: Context
    ) -> pb.ListWebhookDeliveriesResponse:
        state, page_of = wire.delivery_state(request.state) or "", webhook_deliveries.page
        size, token = request.page_size, request.page_token
        async with self._tenants.connection(request.tenant_id) as connection:
            page = await page_of(connection, request.endpoint, state, size, token)
        if page is None:
            raise WebhookEndpointNotFound(request.endpoint)
        return pb.ListWebhookDeliveriesResponse(
            deliveries=map(wire.webhook_delivery, page.items), next_page_token=page.next_token
        )

    async def ReplayWebhookDeliveries(
        self, request: pb.ReplayWebhookDeliveriesRequest, context: Context
    ) -> pb.ReplayWebhookDeliveriesResponse:
        count = await self._app.replay(
            request.tenant_id, request.endpoint, request.run_id, request.from_sequence
        )
        return pb.ReplayWebhookDeliveriesResponse(run_count=count)
