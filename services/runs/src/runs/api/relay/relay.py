"""The pending work of one tenant."""

from __future__ import annotations

import logging
import random
from datetime import timedelta
from typing import TYPE_CHECKING

from runs.api.relay.backlog import BacklogMetrics
from runs.api.relay.outbox import RETRY
from runs.errors import TemporalUnavailable
from runs.store import open_runs, queued_runs, run_demand, webhook_deliveries
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataplane.pending_work_scheduler import PendingWorkScheduler
    from dataplane.tenants import DataPlane
    from runs.api.app.schedule_delivery import ScheduleDelivery
    from runs.api.relay.outbox import OutboxRelay
    from runs.api.relay.reconciler import Reconciler
    from runs.api.relay.usage import UsageChecker

_INTERVAL = timedelta(seconds=15)
_log = logging.getLogger(__name__)


class Relay:
    """Does what is due for a tenant."""

    def __init__(
        self,
        data: DataPlane,
        outbox: OutboxRelay,
        reconciler: Reconciler,
        usage: UsageChecker,
        schedules: ScheduleDelivery,
        webhooks: PendingWorkScheduler,
    ) -> None:
        self._tenants = data.tenants
        self._management = data.management
        self._outbox = outbox
        self._reconciler = reconciler
        self._usage = usage
        self._schedules = schedules
        self._webhooks = webhooks
        self._backlog = BacklogMetrics()

    async def handle(self, tenant_id: str) -> float | None:
        """Do what is due; return in how many seconds more is, None if nothing is left to do."""
        try:
            starts_due = await self._outbox.deliver(tenant_id)
            await self._reconciler.reconcile(tenant_id)
        except TemporalUnavailable as error:
            await self._note_outage(tenant_id, error)
            await self._find_left(tenant_id)
            self._backlog.visited(tenant_id, RETRY.total_seconds())
            return RETRY.total_seconds()
        schedules_due = await self._deliver_schedules(tenant_id)
        due = [starts_due, schedules_due, await self._usage.check(tenant_id)]
        if await self._find_left(tenant_id):
            due.append(_INTERVAL * random.uniform(0.75, 1.25))  # noqa: S311 - keeps replicas apart
        soonest = min((one for one in due if one is not None), default=None)
        seconds = None if soonest is None else max(soonest.total_seconds(), 0.0)
        self._backlog.visited(tenant_id, seconds)
        return seconds

    async def _deliver_schedules(self, tenant_id: str) -> timedelta | None:
        """Tell Temporal of schedules; what else is due for the tenant does not wait for them."""
        try:
            return await self._schedules.deliver(tenant_id)
        except TemporalUnavailable as error:
            await self._note_outage(tenant_id, error)
            return RETRY

    async def _note_outage(self, tenant_id: str, error: TemporalUnavailable) -> None:
        await self._reconciler.note_outage(tenant_id)
        _log.info(
            "a tenant's runs wait for Temporal",
            extra={
                "event": "temporal.unavailable",
                "tenant_id": tenant_id,
                "why": error.message,
            },
        )

    async def _find_left(self, tenant_id: str) -> bool:
        """Return whether work is left; count it now and then, for the metrics."""
        async with self._tenants.connection(tenant_id) as connection:
            webhooks = await webhook_deliveries.any_pending(connection)
            left = await open_runs.any_work_left(connection)
            await queued_runs.mark_in_question(connection)
            demand = await queued_runs.find_demand(connection)
            if self._backlog.is_due(tenant_id):
                self._backlog.counted(tenant_id, await open_runs.find_backlog(connection))
        if webhooks:
            await self._webhooks.schedule(tenant_id)
        await self._record_demand(tenant_id, demand)
        return left

    async def _record_demand(self, tenant_id: str, demand: Mapping[str, int]) -> None:
        """Have others know how many runs the tenant has to do; the next visit says it again."""
        try:
            async with self._management.connection() as connection:
                await run_demand.replace(connection, tenant_id, demand)
        except DomainError as error:
            _log.info(
                "others do not know what a tenant has to do",
                extra={
                    "event": "run_demand.not_recorded",
                    "tenant_id": tenant_id,
                    "why": error.message,
                },
            )
