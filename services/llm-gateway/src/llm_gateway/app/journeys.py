"""Everything that can be refused, refused before anything is recorded or spent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_gateway.app.attempts import Journey
from llm_gateway.domain.calls import Plan
from llm_gateway.domain.usage import Usage, estimated_tokens
from llm_gateway.routing import rules
from llm_gateway.routing.rules import Choices
from servicekit.times import now

if TYPE_CHECKING:
    from dataplane.tenants import TenantPools
    from llm_gateway.app.flights import Order
    from llm_gateway.app.inputs import Inputs
    from llm_gateway.domain.models import ModelChoice, ModelClass
    from llm_gateway.domain.requests import ModelNeeds
    from llm_gateway.providers.http import Line, Providers
    from llm_gateway.routing.cache import CatalogCache
    from llm_gateway.routing.rules import Route
    from llm_gateway.store.overrides import OverrideStore


class Journeys:
    def __init__(
        self,
        tenants: TenantPools,
        overrides: OverrideStore,
        cache: CatalogCache,
        inputs: Inputs,
        providers: Providers,
    ) -> None:
        self._tenants = tenants
        self._overrides = overrides
        self._cache = cache
        self._inputs = inputs
        self._providers = providers

    async def resolve(
        self,
        tenant_id: str,
        step: str,
        model: ModelChoice | None,
        run_model: ModelChoice | None,
        needs: ModelNeeds | None,
    ) -> Route:
        """Return the model that a step uses now. Raises ModelUnresolved, ModelUnavailable.

        With `needs` it raises ModelUnpriced, CapabilityMissing, ProviderKeyMissing and
        BaseUrlRefused too.
        """
        async with self._tenants.connection(tenant_id) as connection:
            override = await self._overrides.find(connection, step)
        choices = Choices(model, run_model, override)
        route = rules.resolve(self._cache.current, step, choices, now())
        if needs is not None:
            self._check(route, needs)
        return route

    async def prepare(self, order: Order, override: ModelClass | None) -> Journey:
        """Choose the model, check it, read the input; `override` is the tenant's for the step.

        Raises ModelUnresolved, ModelUnavailable, ModelUnpriced, CapabilityMissing,
        ProviderKeyMissing, BaseUrlRefused, InputInvalid, InputTooLarge, Unavailable.
        """
        spec = order.spec
        choices = Choices(spec.model, spec.run_model, override)
        route = rules.resolve(self._cache.current, spec.key.step, choices, now())
        line = self._check(route, spec.needs())
        prompt = await self._inputs.join(order.tenant_id, spec, route.model)
        usage = Usage(input_tokens=estimated_tokens(prompt.utf8_bytes))
        cost = route.price(now(), usage).rates.cost(usage)
        plan = Plan(route.resolution, prompt.max_output_tokens, usage.input_tokens, cost)
        return Journey(route, line, prompt, plan)

    def _check(self, route: Route, needs: ModelNeeds) -> Line:
        """Return the way to the provider, if the model can do what is needed and has a price."""
        rules.check(route, needs)
        return self._providers.line(route.provider)
