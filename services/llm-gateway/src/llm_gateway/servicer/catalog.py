"""CatalogService."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_gateway.errors import ModelNotFound
from llm_gateway.store import catalog, overrides, prices
from llm_gateway.wire import models as wire
from nagaya.llm_gateway.v1 import catalog_service_pb2 as pb
from nagaya.llm_gateway.v1 import catalog_service_pb2_grpc

if TYPE_CHECKING:
    from dataplane.tenants import ManagementPool, TenantPools
    from interceptor.server import Context
    from llm_gateway.app.catalog import CatalogChanges, StepOverrides


class CatalogServicer(catalog_service_pb2_grpc.CatalogServiceServicer):
    """Reads and changes of the catalogue, and of tenants' overrides."""

    def __init__(
        self,
        tenants: TenantPools,
        management: ManagementPool,
        changes: CatalogChanges,
        overrides: StepOverrides,
    ) -> None:
        self._tenants = tenants
        self._management = management
        self._changes = changes
        self._overrides = overrides

    async def ListProviders(
        self, request: pb.ListProvidersRequest, context: Context
    ) -> pb.ListProvidersResponse:
        async with self._management.connection() as connection:
            page = await catalog.provider_page(connection, request.page_size, request.page_token)
        providers = map(wire.provider, page.items)
        return pb.ListProvidersResponse(providers=providers, next_page_token=page.next_token)

    async def SetProvider(
        self, request: pb.SetProviderRequest, context: Context
    ) -> pb.SetProviderResponse:
        provider = await self._changes.set_provider(wire.provider_of(request.provider))
        return pb.SetProviderResponse(provider=wire.provider(provider))

    async def ListModels(
        self, request: pb.ListModelsRequest, context: Context
    ) -> pb.ListModelsResponse:
        async with self._management.connection() as connection:
            page = await catalog.model_page(connection, request.page_size, request.page_token)
        models = map(wire.model, page.items)
        return pb.ListModelsResponse(models=models, next_page_token=page.next_token)

    async def SetModel(self, request: pb.SetModelRequest, context: Context) -> pb.SetModelResponse:
        model = await self._changes.set_model(wire.model_of(request.model))
        return pb.SetModelResponse(model=wire.model(model))

    async def ListPrices(
        self, request: pb.ListPricesRequest, context: Context
    ) -> pb.ListPricesResponse:
        async with self._management.connection() as connection:
            if not await catalog.model_exists(connection, request.model_id):
                raise ModelNotFound(request.model_id)
            page = await prices.page(
                connection, request.model_id, request.page_size, request.page_token
            )
        return pb.ListPricesResponse(
            prices=map(wire.price, page.items), next_page_token=page.next_token
        )

    async def SetPrice(self, request: pb.SetPriceRequest, context: Context) -> pb.SetPriceResponse:
        price = await self._changes.set_price(wire.price_of(request.price))
        return pb.SetPriceResponse(price=wire.price(price))

    async def ListStepDefaults(
        self, request: pb.ListStepDefaultsRequest, context: Context
    ) -> pb.ListStepDefaultsResponse:
        async with self._management.connection() as connection:
            page = await catalog.step_default_page(
                connection, request.page_size, request.page_token
            )
        defaults = map(wire.step_default, page.items)
        return pb.ListStepDefaultsResponse(step_defaults=defaults, next_page_token=page.next_token)

    async def SetStepDefault(
        self, request: pb.SetStepDefaultRequest, context: Context
    ) -> pb.SetStepDefaultResponse:
        default = await self._changes.set_step_default(wire.step_default_of(request.step_default))
        return pb.SetStepDefaultResponse(step_default=wire.step_default(default))

    async def ListTenantStepOverrides(
        self, request: pb.ListTenantStepOverridesRequest, context: Context
    ) -> pb.ListTenantStepOverridesResponse:
        async with self._tenants.connection(request.tenant_id) as connection:
            page = await overrides.page(connection, request.page_size, request.page_token)
        return pb.ListTenantStepOverridesResponse(
            overrides=map(wire.step_override, page.items), next_page_token=page.next_token
        )

    async def SetTenantStepOverride(
        self, request: pb.SetTenantStepOverrideRequest, context: Context
    ) -> pb.SetTenantStepOverrideResponse:
        chosen = wire.class_of(request.override.model_class)
        override = await self._overrides.set(request.tenant_id, request.override.step, chosen)
        return pb.SetTenantStepOverrideResponse(override=wire.step_override(override))

    async def DeleteTenantStepOverride(
        self, request: pb.DeleteTenantStepOverrideRequest, context: Context
    ) -> pb.DeleteTenantStepOverrideResponse:
        await self._overrides.delete(request.tenant_id, request.step)
        return pb.DeleteTenantStepOverrideResponse()
