"""The relay: does the pending work of tenants."""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import timedelta
from typing import TYPE_CHECKING

from runs.api.relay.outbox import RETRY
from runs.errors import TemporalUnavailable
from runs.store import open_runs, pending_work
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from dataplane.tenants import DataPlane
    from runs.api.relay.outbox import OutboxRelay
    from runs.api.relay.reconciler import Reconciler
    from runs.api.relay.usage import UsageChecker

_POLL_SECONDS = 1.0
_SWEEP_SECONDS = 86_400.0
_INTERVAL = timedelta(seconds=30)
_LEASE = timedelta(seconds=60)
_TENANTS = 8

_log = logging.getLogger(__name__)


class Relay:
    """Polls for tenants with pending work and does it."""

    def __init__(
        self, data: DataPlane, outbox: OutboxRelay, reconciler: Reconciler, usage: UsageChecker
    ) -> None:
        self._data = data
        self._outbox = outbox
        self._reconciler = reconciler
        self._usage = usage
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to poll for tenants that are due, and to look at all of them once a day."""
        self._tasks = [
            asyncio.create_task(self._poll_forever()),
            asyncio.create_task(self._sweep_forever()),
        ]

    async def stop(self) -> None:
        """Poll no longer; what was begun is done by whoever is next."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def poll(self) -> int:
        """Do the work of tenants that are due now, a few at most; return how many there were."""
        async with self._data.management.connection() as connection:
            due = await pending_work.claim(connection, _TENANTS, _LEASE)
        await asyncio.gather(*map(self._process, due))
        return len(due)

    async def sweep(self) -> None:
        """Note every tenant that has work, in case that a note was lost."""
        for tenant_id in self._data.directory.active():
            try:
                if await self._work_left(tenant_id):
                    async with self._data.management.connection() as connection:
                        await pending_work.note(connection, tenant_id, timedelta())
            except DomainError as error:
                _log.info(
                    "a tenant was not swept",
                    extra={"event": "pending_work.sweep_failed", **_about(tenant_id, error)},
                )
            except Exception:
                _log.exception(
                    "a tenant was not swept",
                    extra={"event": "pending_work.sweep_failed", "tenant_id": tenant_id},
                )

    async def _poll_forever(self) -> None:
        while True:
            processed = 0
            try:
                processed = await self.poll()
            except DomainError as error:
                _log.warning(
                    "pending work cannot be claimed",
                    extra={"event": "pending_work.poll_failed", "why": error.message},
                )
            except Exception:
                _log.exception(
                    "pending work cannot be claimed", extra={"event": "pending_work.poll_failed"}
                )
            if processed < _TENANTS:
                await asyncio.sleep(_POLL_SECONDS * _jitter())

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS * _jitter())
            await self.sweep()

    async def _process(self, tenant_id: str) -> None:
        """Do what is due for a tenant, and reschedule it; where that fails, its lease ends."""
        try:
            delay = await self._work(tenant_id)
            async with self._data.management.connection() as connection:
                if delay is None:
                    await pending_work.complete(connection, tenant_id)
                await pending_work.reschedule(connection, tenant_id, delay or _LEASE)
        except DomainError as error:
            _log.info(
                "a tenant's pending work is left for later",
                extra={"event": "pending_work.postponed", **_about(tenant_id, error)},
            )
        except Exception:
            _log.exception(
                "a tenant's pending work failed",
                extra={"event": "pending_work.failed", "tenant_id": tenant_id},
            )

    async def _work(self, tenant_id: str) -> timedelta | None:
        """Do what is due for a tenant; return after which delay it is due again, None if never."""
        try:
            await self._outbox.deliver(tenant_id)
            await self._reconciler.reconcile(tenant_id)
        except TemporalUnavailable as error:
            _log.info(
                "waiting for Temporal",
                extra={"event": "temporal.unavailable", **_about(tenant_id, error)},
            )
            return RETRY
        due = await self._usage.check(tenant_id)
        if due is None and not await self._work_left(tenant_id):
            return None
        delay = _INTERVAL * _jitter()
        return delay if due is None else max(min(due, delay), timedelta())

    async def _work_left(self, tenant_id: str) -> bool:
        async with self._data.tenants.connection(tenant_id) as connection:
            return await open_runs.work_left(connection)


def _jitter() -> float:
    """Return a factor that keeps replicas from polling at the same moment."""
    return 0.75 + random.random() / 2  # noqa: S311 - no secret


def _about(tenant_id: str, error: DomainError) -> dict[str, str]:
    return {"tenant_id": tenant_id, "why": error.message}
