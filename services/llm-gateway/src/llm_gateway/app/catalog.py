"""Changes of the catalogue, one version each, and of tenants' overrides."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dataplane import audit
from llm_gateway.errors import PriceConflict, ProviderNotFound
from llm_gateway.store import catalog as catalog_store
from llm_gateway.store import overrides, prices, snapshots

if TYPE_CHECKING:
    from dataplane.tenants import ManagementPool, TenantPools
    from llm_gateway.domain.catalog import Catalog
    from llm_gateway.domain.models import Model, ModelClass, Provider, StepDefault, StepOverride
    from llm_gateway.domain.prices import Price
    from llm_gateway.providers.base_urls import BaseUrls
    from llm_gateway.routing.cache import CatalogCache


class CatalogChanges:
    """Changes the catalogue: in effect here when the method returns, elsewhere within a second."""

    def __init__(
        self, management: ManagementPool, base_urls: BaseUrls, cache: CatalogCache
    ) -> None:
        self._management = management
        self._base_urls = base_urls
        self._cache = cache

    async def set_provider(self, provider: Provider) -> Provider:
        """Create or change a provider; the same again changes nothing. Raises BaseUrlRefused."""
        if provider.api_base_url:
            self._base_urls.check(provider.api_base_url)
        async with self._management.transaction() as connection:
            await catalog_store.lock(connection)
            if await catalog_store.is_current(connection, provider):
                return provider
            version = await catalog_store.next_version(connection)
            await catalog_store.upsert_provider(connection, provider)
            details = {
                "api_base_url": provider.api_base_url,
                "active": provider.active,
                "wire_format": provider.wire_format,
                "catalog_version": version,
            }
            await audit.append(connection, "provider.set", "provider", provider.id, details)
        await self._cache.refresh()
        return provider

    async def set_model(self, model: Model) -> Model:
        """Create or change a model. Raises ProviderNotFound.

        The same again changes nothing, unless another one of its class was set since.
        """
        async with self._management.transaction() as connection:
            await catalog_store.lock(connection)
            if await catalog_store.is_current(connection, model):
                return model
            version = await catalog_store.next_version(connection)
            model = replace(model, set_in_version=version)
            await catalog_store.upsert_model(connection, model)
            details = {
                "provider": model.provider_id,
                "model_class": model.model_class,
                "active": model.active,
                "catalog_version": version,
            }
            await audit.append(connection, "model.set", "model", model.id, details)
        await self._cache.refresh()
        return model

    async def set_price(self, price: Price) -> Price:
        """Add a price row; the same again changes nothing. Raises ModelNotFound, PriceConflict."""
        async with self._management.transaction() as connection:
            if not await prices.insert(connection, price):
                existing = await prices.find(connection, price.id)
                if existing != price:
                    message = "the model has another price of this time"
                    raise PriceConflict(message, price_id=price.id)
                return price
            version = await catalog_store.next_version(connection)
            details = {"price_id": price.id, "catalog_version": version}
            await audit.append(connection, "price.set", "model", price.model_id, details)
        await self._cache.refresh()
        return price

    async def set_step_default(self, default: StepDefault) -> StepDefault:
        """Set a step's default; the same again changes nothing.

        Raises ProviderNotFound, ModelUnavailable.
        """
        async with self._management.transaction() as connection:
            await catalog_store.lock(connection)
            check_class(await snapshots.read(connection), default.model_class)
            if await catalog_store.is_current(connection, default):
                return default
            version = await catalog_store.next_version(connection)
            await catalog_store.upsert_step_default(connection, default)
            details = {
                "provider": default.model_class.provider_id,
                "model_class": default.model_class.model_class,
                "catalog_version": version,
            }
            await audit.append(
                connection, "step_default.set", "step_default", default.step, details
            )
        await self._cache.refresh()
        return default


class StepOverrides:
    """Changes a tenant's own choices of models, in its own database."""

    def __init__(self, tenants: TenantPools, cache: CatalogCache) -> None:
        self._tenants = tenants
        self._cache = cache

    async def set(self, tenant_id: str, step: str, chosen: ModelClass) -> StepOverride:
        """Set a step's override; the same again changes nothing.

        Raises ProviderNotFound, ModelUnavailable.
        """
        check_class(await self._cache.refresh(), chosen)
        async with self._tenants.transaction(tenant_id) as connection:
            override = await overrides.upsert(connection, step, chosen)
            if override is None:
                return await overrides.read(connection, step)
            details = {"provider": chosen.provider_id, "model_class": chosen.model_class}
            await audit.append(connection, "override.set", "step_override", step, details)
        return override

    async def delete(self, tenant_id: str, step: str) -> None:
        """Remove a step's override, if there is one."""
        async with self._tenants.transaction(tenant_id) as connection:
            if await overrides.delete(connection, step):
                await audit.append(connection, "override.delete", "step_override", step)


def check_class(catalog: Catalog, chosen: ModelClass) -> None:
    """Refuse a class that no call could use. Raises ProviderNotFound, ModelUnavailable."""
    if chosen.provider_id not in catalog.providers:
        raise ProviderNotFound(chosen.provider_id)
    catalog.pick(chosen)
