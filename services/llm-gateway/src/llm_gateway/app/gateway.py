"""The parts of the gateway, put together."""

from __future__ import annotations

from contextlib import AsyncExitStack
from math import inf
from typing import TYPE_CHECKING

from interceptor.concurrency_limit import ConcurrencyLimit
from llm_gateway.app.catalog import CatalogChanges, Overrides
from llm_gateway.app.collector import PATIENCE, Collector
from llm_gateway.app.flights import Flights
from llm_gateway.app.generation import Generations
from llm_gateway.app.inputs import Inputs
from llm_gateway.app.journeys import Journeys
from llm_gateway.app.patience import patiently
from llm_gateway.app.pending_work import PendingWork
from llm_gateway.app.recovery import Recovery
from llm_gateway.app.replies import Replies
from llm_gateway.app.retries import Retries, RetryBudget
from llm_gateway.app.settlement import Settlement
from llm_gateway.app.work import Work
from llm_gateway.domain.calls import Lease
from llm_gateway.ledger.claims import Claims
from llm_gateway.ledger.kept_replies import KeptReplies
from llm_gateway.ledger.outcomes import Outcomes
from llm_gateway.providers.addresses import Addresses
from llm_gateway.providers.exchange import Patience
from llm_gateway.providers.http import Providers
from llm_gateway.providers.keys import ProviderKeys
from llm_gateway.routing.cache import CatalogCache

if TYPE_CHECKING:
    from types import TracebackType

    from dataplane.tenants import DataPlane
    from llm_gateway.config import Config
    from llm_gateway.peers.artifacts import Artifacts
    from llm_gateway.store.stores import Stores


# More than a tenant may have callers at once: what is over it has been left by its callers, and
# keeps its prompt in memory until its provider is done.
_FLIGHTS_PER_TENANT = 1024


class Gateway:
    """All of it, for one process. Inside its block leases are kept."""

    def __init__(
        self, config: Config, stores: Stores, data: DataPlane, artifacts: Artifacts
    ) -> None:
        addresses = Addresses(config.providers.http_hosts)
        keys = ProviderKeys(config.providers.keys_file)
        ledger = (data.tenants, stores.calls, stores.transitions, stores.attempts)
        pause_seconds = config.providers.retry_pause_seconds
        claims = Claims(*ledger, pause_seconds)
        outcomes = Outcomes(*ledger, stores.replies)
        kept = KeptReplies(*ledger, stores.replies, outcomes)
        replies = Replies(artifacts)
        retries = Retries(RetryBudget(config.providers.retry_reserve), pause_seconds)
        self._landing_seconds = config.landing_seconds
        patience = Patience(config.providers.first_byte_seconds, config.providers.idle_seconds)
        self._providers = Providers(addresses, keys, patience, config.providers.reply_seconds)
        self._inside = AsyncExitStack()
        self.cache = CatalogCache(data.management, stores.snapshots)
        process = Lease(config.process, config.endpoint, config.lease_seconds)
        self.flights = Flights(outcomes, process, ConcurrencyLimit(_FLIGHTS_PER_TENANT))
        self.journeys = Journeys(
            data.tenants, stores.overrides, self.cache, Inputs(artifacts), self._providers
        )
        recovery = Recovery(outcomes, kept, replies, self.cache)
        self._collector = Collector(data, stores, outcomes, recovery, process)
        # A call that begins now, and whose process dies at once, is left behind by then.
        left_behind = (1 + PATIENCE) * process.seconds
        pending_work = PendingWork(data.tenants, data.management, stores.pending_work, left_behind)
        settlement = Settlement(claims, outcomes, kept, replies, recovery)
        work = Work(pending_work, claims, outcomes, self.journeys, settlement, recovery, retries)
        self.generations = Generations(self.flights, work, replies)
        self.changes = CatalogChanges(
            data.management, stores.catalog, stores.prices, stores.snapshots, addresses, self.cache
        )
        self.overrides = Overrides(data.tenants, stores.overrides, self.cache)

    async def __aenter__(self) -> Gateway:
        await self._inside.enter_async_context(self._providers)
        await self._inside.enter_async_context(self.flights.kept())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.land()
        await self._inside.aclose()

    async def land(self) -> None:
        """Bring calls in flight to their end, and give up what lasts too long."""
        await self.flights.land(self._landing_seconds)

    async def ready(self) -> None:
        """Read the catalogue, however long that takes; follow it and collect from now on."""
        await patiently("reading the catalogue", self.cache.refresh, inf)
        await self._inside.enter_async_context(self.cache.followed())
        await self._inside.enter_async_context(self._collector.working())
