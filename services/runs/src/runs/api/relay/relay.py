"""The pending work of one tenant."""

from __future__ import annotations

import logging
import random
from datetime import timedelta
from typing import TYPE_CHECKING

from runs.api.relay.outbox import RETRY
from runs.errors import TemporalUnavailable
from runs.store import open_runs

if TYPE_CHECKING:
    from dataplane.tenants import TenantPools
    from runs.api.relay.outbox import OutboxRelay
    from runs.api.relay.reconciler import Reconciler
    from runs.api.relay.usage import UsageChecker

_INTERVAL = timedelta(seconds=30)
_log = logging.getLogger(__name__)


class Relay:
    """Does what is due for a tenant."""

    def __init__(
        self,
        tenants: TenantPools,
        outbox: OutboxRelay,
        reconciler: Reconciler,
        usage: UsageChecker,
    ) -> None:
        self._tenants = tenants
        self._outbox = outbox
        self._reconciler = reconciler
        self._usage = usage

    async def handle(self, tenant_id: str) -> float | None:
        """Do what is due; return in how many seconds more is, None if nothing is left to do."""
        try:
            await self._outbox.deliver(tenant_id)
            await self._reconciler.reconcile(tenant_id)
        except TemporalUnavailable as error:
            _log.info(
                "a tenant's runs wait for Temporal",
                extra={
                    "event": "temporal.unavailable",
                    "tenant_id": tenant_id,
                    "why": error.message,
                },
            )
            return RETRY.total_seconds()
        due = await self._usage.check(tenant_id)
        if due is None and not await self._work_left(tenant_id):
            return None
        delay = _INTERVAL * random.uniform(0.75, 1.25)  # noqa: S311 - keeps replicas apart
        soonest = delay if due is None else min(due, delay)
        return max(soonest.total_seconds(), 0.0)

    async def _work_left(self, tenant_id: str) -> bool:
        async with self._tenants.connection(tenant_id) as connection:
            return await open_runs.work_left(connection)
