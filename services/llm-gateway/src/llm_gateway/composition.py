"""The composition root: constructs every object of the service with exactly what it uses."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataplane.pending_work_poller import PendingWorkPoller
from dataplane.pending_work_scheduler import PendingWorkScheduler
from interceptor.concurrency_limit import ConcurrencyLimit
from llm_gateway.app.catalog import CatalogChanges, StepOverrides
from llm_gateway.app.collector import Collector, pending_calls
from llm_gateway.app.execute import CallExecutor
from llm_gateway.app.in_flight import InFlightCalls
from llm_gateway.app.prepare import CallPreparer
from llm_gateway.app.processes import GatewayProcesses
from llm_gateway.app.prompt import PromptBuilder
from llm_gateway.app.recover import CallRecovery
from llm_gateway.app.reply_storage import ReplyStorage
from llm_gateway.app.request import RequestHandler
from llm_gateway.app.retry_policy import RetryBudget, RetryPolicy
from llm_gateway.app.settle import CallSettlement
from llm_gateway.app.stored_replies import StoredReplies
from llm_gateway.app.watch_call import CallWatcher
from llm_gateway.domain.calls import CallLease
from llm_gateway.ledger.kept_replies import KeptReplies
from llm_gateway.ledger.outcomes import Outcomes
from llm_gateway.ledger.reservations import Reservations
from llm_gateway.ledger.settlements import Settlements
from llm_gateway.metrics import RETRY_BUDGET
from llm_gateway.peers.artifacts import Artifacts
from llm_gateway.providers.base_urls import BaseUrls
from llm_gateway.providers.client import ProviderClients
from llm_gateway.providers.keys import ProviderKeys
from llm_gateway.providers.timeouts import ReadTimeouts
from llm_gateway.routing.cache import CatalogCache
from llm_gateway.servicer.bindings import bindings
from llm_gateway.servicer.calls import CallServicer
from llm_gateway.servicer.catalog import CatalogServicer
from llm_gateway.servicer.generation import GenerationServicer
from tenantdata.servicer import TenantDataServicer
from tenantdata.stores import ManagementRows

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    import grpc

    from dataplane.pending_work import PendingWorkTable
    from dataplane.tenants import DataPlane
    from interceptor.server import Binding
    from llm_gateway.config import Config, ProviderConfig
    from llm_gateway.peers.gateways import Gateways

# More than a tenant may have callers at once: calls above that have been left by their callers, and
# keep their prompts in memory until their providers are done.
_CALLS_PER_TENANT = 1024
_POLL_LEASE_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Composition:
    """The objects by which a process starts and stops the service."""

    cache: CatalogCache
    processes: GatewayProcesses
    in_flight: InFlightCalls
    poller: PendingWorkPoller
    bindings: Sequence[Binding]


@asynccontextmanager
async def compose(
    config: Config, data: DataPlane, artifacts_channel: grpc.aio.Channel, gateways: Gateways
) -> AsyncGenerator[Composition]:
    """Construct the service for the block, and close its connections to providers afterwards."""
    tenants, management, settings = data.tenants, data.management, config.providers
    base_urls, keys = BaseUrls(settings.http_hosts), ProviderKeys(settings.keys_file)
    timeouts = ReadTimeouts(settings.first_byte_seconds, settings.idle_seconds)
    providers = ProviderClients(base_urls, keys, timeouts, settings.reply_seconds)
    artifacts, cache = Artifacts(artifacts_channel), CatalogCache(management)
    preparer = CallPreparer(tenants, cache, PromptBuilder(artifacts), providers)
    reservations = Reservations(tenants, settings.retry_pause_seconds)
    outcomes, settlements = Outcomes(tenants), Settlements(tenants)
    replies = ReplyStorage(artifacts, KeptReplies(tenants))
    recovery = CallRecovery(outcomes, settlements, replies, cache)
    settlement = CallSettlement(outcomes, settlements, replies)
    retry_policy = RetryPolicy(_retry_budget(settings), settings.retry_pause_seconds)
    process = CallLease(config.process, str(config.endpoint), config.lease_seconds)
    pending_work = pending_calls(process.seconds)
    scheduler = PendingWorkScheduler(pending_work, tenants, management)
    executor = CallExecutor(
        scheduler, reservations, outcomes, preparer, settlement, recovery, retry_policy
    )
    in_flight = InFlightCalls(outcomes, process, ConcurrencyLimit(_CALLS_PER_TENANT))
    collector = Collector(tenants, outcomes, recovery, process.seconds, config.reply_retention_days)
    poller = _poller(data, pending_work, collector, process.seconds)
    stored = StoredReplies(tenants, artifacts)
    processes = GatewayProcesses(management, process)
    watcher = CallWatcher(tenants, in_flight, stored, gateways, processes)
    changes, overrides = CatalogChanges(management, base_urls, cache), StepOverrides(tenants, cache)
    services = bindings(
        GenerationServicer(RequestHandler(in_flight, executor, stored), preparer, watcher),
        CallServicer(tenants, stored),
        CatalogServicer(tenants, management, changes, overrides),
        TenantDataServicer((ManagementRows(pending_work.name, management),), (scheduler,)),
    )
    for forget in (scheduler.forget, executor.forget):
        data.directory.on_change(forget)
    async with providers:
        yield Composition(cache, processes, in_flight, poller, services)


def _retry_budget(settings: ProviderConfig) -> RetryBudget:
    budget = RetryBudget(settings.retry_reserve)
    RETRY_BUDGET.read_by(lambda: [((name,), left) for name, left in budget.balances().items()])
    return budget


def _poller(
    data: DataPlane, pending_work: PendingWorkTable, collector: Collector, lease_seconds: float
) -> PendingWorkPoller:
    return PendingWorkPoller(
        pending_work,
        data,
        collector.collect,
        interval_seconds=lease_seconds,
        lease_seconds=_POLL_LEASE_SECONDS,
        retry_seconds=collector.expired_seconds,
    )
