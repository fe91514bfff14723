"""Changes of the catalogue: each is one version, refused when nothing could come of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dataplane import audit
from llm_gateway.errors import PriceConflict, ProviderNotFound

if TYPE_CHECKING:
    from dataplane.tenants import ManagementPool, TenantPools
    from llm_gateway.domain.catalog import Catalog
    from llm_gateway.domain.models import Model, ModelClass, Provider, StepDefault, StepOverride
    from llm_gateway.domain.prices import Price
    from llm_gateway.providers.addresses import Addresses
    from llm_gateway.routing.cache import CatalogCache
    from llm_gateway.store.catalog import CatalogStore
    from llm_gateway.store.overrides import OverrideStore
    from llm_gateway.store.prices import PriceStore
    from llm_gateway.store.snapshot import SnapshotStore


class CatalogChanges:
    """A change counts in this process when its method returns, in the others soon after."""

    def __init__(
        self,
        management: ManagementPool,
        store: CatalogStore,
        prices: PriceStore,
        snapshots: SnapshotStore,
        addresses: Addresses,
        cache: CatalogCache,
    ) -> None:
        self._management = management
        self._store = store
        self._prices = prices
        self._snapshots = snapshots
        self._addresses = addresses
        self._cache = cache

    async def set_provider(self, provider: Provider) -> Provider:
        """Create or change a provider; the same again changes nothing. Raises BaseUrlRefused."""
        if provider.api_base_url:
            self._addresses.check(provider.api_base_url)
        async with self._management.transaction() as connection:
            await self._store.begin(connection)
            if await self._store.stands(connection, provider):
                return provider
            version = await self._store.advance(connection)
            await self._store.put_provider(connection, provider)
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
            await self._store.begin(connection)
            if await self._store.stands(connection, model):
                return model
            version = await self._store.advance(connection)
            model = replace(model, set_in_version=version)
            await self._store.put_model(connection, model)
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
            if not await self._prices.insert(connection, price):
                existing = await self._prices.find(connection, price.id)
                if existing != price:
                    raise PriceConflict(price.id)
                return price
            version = await self._store.advance(connection)
            details = {"price_id": price.id, "catalog_version": version}
            await audit.append(connection, "price.set", "model", price.model_id, details)
        await self._cache.refresh()
        return price

    async def set_step_default(self, default: StepDefault) -> StepDefault:
        """Set a step's default; the same again changes nothing.

        Raises ProviderNotFound, ModelUnavailable.
        """
        async with self._management.transaction() as connection:
            await self._store.begin(connection)
            check_class(await self._snapshots.read(connection), default.model_class)
            if await self._store.stands(connection, default):
                return default
            version = await self._store.advance(connection)
            await self._store.put_step_default(connection, default)
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


class Overrides:
    """A tenant's own choices of models, in its own database."""

    def __init__(self, tenants: TenantPools, store: OverrideStore, cache: CatalogCache) -> None:
        self._tenants = tenants
        self._store = store
        self._cache = cache

    async def set(self, tenant_id: str, step: str, chosen: ModelClass) -> StepOverride:
        """Set a step's override; the same again changes nothing.

        Raises ProviderNotFound, ModelUnavailable.
        """
        check_class(await self._cache.refresh(), chosen)
        async with self._tenants.transaction(tenant_id) as connection:
            override = await self._store.put(connection, step, chosen)
            if override is None:
                return await self._store.read(connection, step)
            details = {"provider": chosen.provider_id, "model_class": chosen.model_class}
            await audit.append(connection, "override.set", "step_override", step, details)
        return override

    async def delete(self, tenant_id: str, step: str) -> None:
        """Remove a step's override, if there is one."""
        async with self._tenants.transaction(tenant_id) as connection:
            if await self._store.delete(connection, step):
                await audit.append(connection, "override.delete", "step_override", step)


def check_class(catalog: Catalog, chosen: ModelClass) -> None:
    """Refuse a class that no call could use. Raises ProviderNotFound, ModelUnavailable."""
    if chosen.provider_id not in catalog.providers:
        raise ProviderNotFound(chosen.provider_id)
    catalog.pick(chosen)
