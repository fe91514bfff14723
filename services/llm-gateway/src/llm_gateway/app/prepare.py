"""Preparing a call: everything that can be refused is refused here, before anything is recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llm_gateway.domain.attempts import Reservation
from llm_gateway.domain.usage import Usage, estimated_tokens
from llm_gateway.routing import rules
from llm_gateway.routing.rules import Choices
from llm_gateway.store import overrides
from servicekit.times import now

if TYPE_CHECKING:
    from dataplane.tenants import TenantPools
    from llm_gateway.app.prompt import PromptBuilder
    from llm_gateway.domain.models import ModelChoice, ModelClass
    from llm_gateway.domain.requests import CallRequest, ModelNeeds, Prompt
    from llm_gateway.providers.client import ProviderClient, ProviderClients
    from llm_gateway.routing.cache import CatalogCache
    from llm_gateway.routing.rules import ModelRoute


@dataclass(frozen=True, slots=True)
class PreparedCall:
    """A call that is ready to be sent: model, provider, prompt, and what to reserve."""

    route: ModelRoute
    client: ProviderClient
    prompt: Prompt
    reservation: Reservation
    override: ModelClass | None
    """The tenant's override for the step, as it was when the model was chosen."""


class CallPreparer:
    """Chooses models, and prepares calls to them."""

    def __init__(
        self,
        tenants: TenantPools,
        cache: CatalogCache,
        prompts: PromptBuilder,
        providers: ProviderClients,
    ) -> None:
        self._tenants = tenants
        self._cache = cache
        self._prompts = prompts
        self._providers = providers

    async def resolve(
        self,
        tenant_id: str,
        step: str,
        model: ModelChoice | None,
        run_model: ModelChoice | None,
        needs: ModelNeeds | None,
    ) -> ModelRoute:
        """Return the model that a step uses now. Raises ModelUnresolved, ModelUnavailable.

        With `needs` it raises ModelUnpriced, CapabilityMissing, ProviderKeyMissing and
        BaseUrlRefused too.
        """
        async with self._tenants.connection(tenant_id) as connection:
            override = await overrides.find(connection, step)
        choices = Choices(model, run_model, override)
        route = rules.resolve(self._cache.current, step, choices, now())
        if needs is not None:
            self._client(route, needs)
        return route

    async def prepare(self, request: CallRequest, override: ModelClass | None) -> PreparedCall:
        """Choose and check the model, and read the input; `override` is the tenant's for the step.

        Raises ModelUnresolved, ModelUnavailable, ModelUnpriced, CapabilityMissing,
        ProviderKeyMissing, BaseUrlRefused, InputInvalid, InputTooLarge, Unavailable.
        """
        choices = Choices(request.model, request.run_model, override)
        route = rules.resolve(self._cache.current, request.key.step, choices, now())
        client = self._client(route, request.needs())
        prompt = await self._prompts.build(request, route.model)
        usage = Usage(input_tokens=estimated_tokens(prompt.utf8_bytes))
        cost = route.price(now(), usage).rates.cost(usage)
        reservation = Reservation(
            route.resolution, prompt.max_output_tokens, usage.input_tokens, cost
        )
        return PreparedCall(route, client, prompt, reservation, override)

    def _client(self, route: ModelRoute, needs: ModelNeeds) -> ProviderClient:
        """Return the provider's client, if the model has a price and can do what is needed."""
        rules.check(route, needs)
        return self._providers.client(route.provider)
