"""Delivers the outbox to Temporal."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from runs.domain.plan import WORKFLOW_VERSION, RunStart
from runs.store import outbox

if TYPE_CHECKING:
    from dataplane.tenants import TenantPools
    from runs.api.app.run_finalizer import RunFinalizer
    from runs.api.launcher import Launcher
    from runs.store.outbox import Message

RETRY = timedelta(seconds=5)

_MESSAGES = 100
_AT_ONCE = 16


class OutboxRelay:
    """Delivers the messages of a tenant's outbox to Temporal."""

    def __init__(self, tenants: TenantPools, launcher: Launcher, finalizer: RunFinalizer) -> None:
        self._tenants = tenants
        self._launcher = launcher
        self._finalizer = finalizer

    async def deliver(self, tenant_id: str) -> None:
        """Deliver all that is due. Raises TemporalUnavailable; what is left is due after RETRY."""
        while True:
            async with self._tenants.connection(tenant_id) as connection:
                messages = await outbox.claim(connection, _MESSAGES, RETRY)
            at_once = asyncio.Semaphore(_AT_ONCE)
            outcomes = await asyncio.gather(
                *(self._deliver_one(tenant_id, message, at_once) for message in messages),
                return_exceptions=True,
            )
            for outcome in outcomes:
                if isinstance(outcome, BaseException):
                    raise outcome
            if len(messages) < _MESSAGES:
                return

    async def _deliver_one(
        self, tenant_id: str, message: Message, at_once: asyncio.Semaphore
    ) -> None:
        async with at_once:
            if message.kind == "cancel":
                await self._finalizer.stop(tenant_id, message.run_id, message.epoch)
                return
            run_id, epoch = message.run_id, message.epoch
            start = RunStart(
                *(tenant_id, run_id, epoch, message.plan, WORKFLOW_VERSION),
                *(message.retry_step, message.retry_item),
            )
            await self._launcher.start(start)
            async with self._tenants.connection(tenant_id) as connection:
                await outbox.remove(connection, message.run_id, epoch, message.kind)
