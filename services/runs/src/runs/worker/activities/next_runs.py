"""Starts runs that wait for their turn as others end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextvars import Context
from datetime import timedelta
from typing import TYPE_CHECKING, TypeAlias

from runs.domain.plan import STARTED_BY_WORKERS, RunStart
from runs.store import outbox, queued_runs
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from dataplane.tenants import TenantPools
    from runs.domain.tenant_limits import LimitsOf
    from runs.store.outbox import OutboxMessage
    from runs.temporal.run_starter import RunStarter

StartNext: TypeAlias = Callable[[str], None]
"""Is told of which tenant a run has ended, so that another one may start; waits for nothing."""

_SECONDS = 3.0
"""For how long the end of the process waits."""
_AT_ONCE = 100
_RETRY = timedelta(seconds=5)
_log = logging.getLogger(__name__)


class NextRuns:
    """Starts the runs of a tenant that wait for their turn, once others have ended.

    One after another for a tenant: ends that come meanwhile are seen to together. Whatever is left,
    since Temporal is away or this process dies, a relay starts. `limits_known` says whether
    `limits` are those of the tenants yet.
    """

    def __init__(
        self,
        tenants: TenantPools,
        starter: RunStarter,
        limits: LimitsOf,
        limits_known: Callable[[], bool],
    ) -> None:
        self._tenants = tenants
        self._starter = starter
        self._limits = limits
        self._limits_known = limits_known
        self._ended: set[str] = set()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, tenant_id: str) -> None:
        """Have as many runs started as there is room for, the oldest first.

        Nobody waits for it: a run that has ended may be the next one, and its workflow has to end
        before. Runs of a tenant that start at a limited rate are left to relays, and all as long as
        limits are not known.
        """
        if not self._limits_known() or self._limits(tenant_id).starts_per_minute:
            return
        self._ended.add(tenant_id)
        if tenant_id not in self._tasks:
            # Not in the context of the run that has ended: the next one is no part of its trace.
            task = asyncio.create_task(self._run(tenant_id), context=Context())
            self._tasks[tenant_id] = task

    async def stop(self) -> None:
        """Wait a moment for what is being started, and leave the rest to relays."""
        if tasks := set(self._tasks.values()):
            _, left = await asyncio.wait(tasks, timeout=_SECONDS)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def _run(self, tenant_id: str) -> None:
        try:
            while tenant_id in self._ended:
                self._ended.discard(tenant_id)
                await self._start_or_leave(tenant_id)
        finally:
            del self._tasks[tenant_id]

    async def _start_or_leave(self, tenant_id: str) -> None:
        try:
            await self._start_all(tenant_id)
        except DomainError as error:
            _log.info(
                "a relay will start the runs that wait",
                extra={
                    "event": "run.next_left_to_relay",
                    "tenant_id": tenant_id,
                    "why": str(error),
                },
            )
        except Exception:  # the next end may find it mended
            _log.exception(
                "the runs that wait could not be started",
                extra={"event": "run.next_failed", "tenant_id": tenant_id},
            )

    async def _start_all(self, tenant_id: str) -> None:
        messages: list[OutboxMessage] = []
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

    async def _start(self, tenant_id: str, message: OutboxMessage) -> None:
        start = RunStart(
            *(tenant_id, message.run_id, message.epoch, message.plan, STARTED_BY_WORKERS),
            *(message.retry_step, message.retry_item),
        )
        await self._starter.start(start, message.task_queue)
        async with self._tenants.connection(tenant_id) as connection:
            await outbox.remove(connection, message.run_id, message.epoch, message.kind)


def leave_to_relays(_: str) -> None:
    """Let relays find that there is room for another run."""
