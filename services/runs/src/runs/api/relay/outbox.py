"""Delivers the outbox to Temporal."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from runs.domain.plan import WORKFLOW_VERSION, RunStart
from runs.domain.tenant_limits import usual_limits
from runs.store import outbox, queued_runs, start_rate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dataplane.tenants import TenantPools
    from runs.api.app.run_finalizer import RunFinalizer
    from runs.api.launcher import Launcher
    from runs.domain.tenant_limits import LimitsOf
    from runs.store.outbox import OutboxMessage

RETRY = timedelta(seconds=5)

_MESSAGES = 100
_NEXT_TURN = timedelta(seconds=0.5)
"""How often it is looked whether runs have ended that others wait for."""

_AT_ONCE = 16


class OutboxRelay:
    """Delivers the messages of a tenant's outbox to Temporal."""

    def __init__(
        self,
        tenants: TenantPools,
        launcher: Launcher,
        finalizer: RunFinalizer,
        limits: LimitsOf = usual_limits,
    ) -> None:
        self._tenants = tenants
        self._launcher = launcher
        self._finalizer = finalizer
        self._limits = limits

    async def deliver(self, tenant_id: str) -> timedelta | None:
        """Deliver all that is due, of starts as many as the tenant's rate allows.

        Runs that wait since as many are under way as may be start where others have ended. Returns
        in how long the turn of another start comes, None if none waits for its turn. Raises
        TemporalUnavailable; what is left is due after RETRY.
        """
        left = await self._admit(tenant_id)
        due = await self._deliver_due(tenant_id)
        if not left:
            return due
        return _NEXT_TURN if due is None else min(due, _NEXT_TURN)

    async def _admit(self, tenant_id: str) -> bool:
        """Have runs started that have waited for their turn; return whether others are left."""
        async with self._tenants.connection(tenant_id) as connection:
            task_queues = await queued_runs.find_task_queues(connection)
        left = False
        for task_queue in task_queues:
            most = self._limits(tenant_id).runs_at_once(task_queue)
            async with self._tenants.transaction(tenant_id) as connection:
                left |= await queued_runs.admit(connection, task_queue, most)
        return left

    async def _deliver_due(self, tenant_id: str) -> timedelta | None:
        """Deliver what is due; return in how long the tenant's rate allows another start."""
        per_minute = self._limits(tenant_id).starts_per_minute
        kinds: Literal["all", "others"] = "others" if per_minute else "all"
        while True:
            async with self._tenants.connection(tenant_id) as connection:
                messages = await outbox.claim(connection, _MESSAGES, RETRY, kinds)
            await self._deliver_all(tenant_id, messages)
            if len(messages) < _MESSAGES:
                break
        if not per_minute:
            return None
        while True:
            async with self._tenants.transaction(tenant_id) as connection:
                messages, due = await start_rate.claim_starts(
                    connection, per_minute, _MESSAGES, RETRY
                )
            await self._deliver_all(tenant_id, messages)
            if len(messages) < _MESSAGES:
                return due

    async def _deliver_all(self, tenant_id: str, messages: Sequence[OutboxMessage]) -> None:
        at_once = asyncio.Semaphore(_AT_ONCE)
        outcomes = await asyncio.gather(
            *(self._deliver_one(tenant_id, message, at_once) for message in messages),
            return_exceptions=True,
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _deliver_one(
        self, tenant_id: str, message: OutboxMessage, at_once: asyncio.Semaphore
    ) -> None:
        async with at_once:
            if message.kind == "cancel":
                await self._finalizer.stop(tenant_id, message.run_id, message.epoch)
                return
            if message.kind == "decision":
                await self._launcher.tell_of_decision(tenant_id, message.run_id)
                async with self._tenants.connection(tenant_id) as connection:
                    await outbox.remove_message(connection, message.id)
                return
            run_id, epoch = message.run_id, message.epoch
            start = RunStart(
                *(tenant_id, run_id, epoch, message.plan, WORKFLOW_VERSION),
                *(message.retry_step, message.retry_item),
            )
            await self._launcher.start(start, message.task_queue)
            async with self._tenants.connection(tenant_id) as connection:
                await outbox.remove(connection, message.run_id, epoch, message.kind)
