"""Starts runs that wait for their turn as others end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, TypeAlias

from runs.domain.plan import STARTED_BY_WORKERS, RunStart
from runs.store import outbox, queued_runs
from servicekit.batches import Batcher, Limits
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dataplane.tenants import TenantPools
    from runs.domain.tenant_limits import LimitsOf
    from runs.store.outbox import Message
    from runs.temporal.run_starter import RunStarter

StartNext: TypeAlias = Callable[[str], Awaitable[None]]
"""Is told of which tenant a run has ended, so that another one may start."""

_SECONDS = 3.0
_AT_ONCE = 100
_RETRY = timedelta(seconds=5)
_log = logging.getLogger(__name__)


class NextRuns:
    """Starts the runs of a tenant that wait for their turn, once others have ended.

    One after another for a tenant: ends that come meanwhile are seen to together. Whatever is left,
    since Temporal is away or this process dies, a relay starts.
    """

    def __init__(self, tenants: TenantPools, starter: RunStarter, limits: LimitsOf) -> None:
        self._tenants = tenants
        self._starter = starter
        self._limits = limits
        self._starts = Batcher(self._start_all, Limits(weight=_AT_ONCE))

    async def start(self, tenant_id: str) -> None:
        """Start as many runs as there is room for, the oldest first.

        Runs of a tenant that start at a limited rate are left to relays.
        """
        if self._limits(tenant_id).starts_per_minute:
            return
        try:
            async with asyncio.timeout(_SECONDS):
                await self._starts.submit(tenant_id, (), None)
        except (DomainError, TimeoutError) as error:
            _log.info(
                "a relay will start the runs that wait",
                extra={
                    "event": "run.next_left_to_relay",
                    "tenant_id": tenant_id,
                    "why": str(error),
                },
            )
        except Exception:  # the run that has ended is none the worse for it
            _log.exception(
                "the runs that wait could not be started",
                extra={"event": "run.next_failed", "tenant_id": tenant_id},
            )

    async def _start_all(self, tenant_id: str, ends: Sequence[None]) -> Sequence[None]:
        messages: list[Message] = []
        async with self._tenants.connection(tenant_id) as connection:
            task_queues = await queued_runs.find_task_queues(connection)
        for task_queue in task_queues:
            most = self._limits(tenant_id).runs_at_once(task_queue)
            async with self._tenants.transaction(tenant_id) as connection:
                await queued_runs.admit(connection, task_queue, most)
                messages += await outbox.claim(connection, _AT_ONCE, _RETRY, "starts")
        outcomes = await asyncio.gather(
            *(self._start(tenant_id, message) for message in messages), return_exceptions=True
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return [None for _ in ends]

    async def _start(self, tenant_id: str, message: Message) -> None:
        start = RunStart(
            *(tenant_id, message.run_id, message.epoch, message.plan, STARTED_BY_WORKERS),
            *(message.retry_step, message.retry_item),
        )
        await self._starter.start(start, message.task_queue)
        async with self._tenants.connection(tenant_id) as connection:
            await outbox.remove(connection, message.run_id, message.epoch, message.kind)


async def leave_to_relays(_: str) -> None:
    """Let relays find that there is room for another run."""
