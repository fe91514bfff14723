"""Polls the tenants that have pending work, in as many processes as there are."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import TYPE_CHECKING

from dataplane import pending_work
from monitoring.metrics import PENDING_WORK_HANDLED, PENDING_WORK_LAG, PENDING_WORK_POLLED
from servicekit.errors import DomainError
from servicekit.retries import RetryLog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from dataplane.pending_work import ClaimedTenant, PendingWorkTable
    from dataplane.tenants import DataPlane

_INACTIVE_SECONDS = 300.0
_POLL_ALL_SECONDS = 600.0
_MISSING_SECONDS = 3600.0
_log = logging.getLogger(__name__)


class PendingWorkPoller:
    """Calls `handle` with each tenant that is due, for `at_once` tenants at the same time.

    `handle` does the work of a tenant and returns in how many seconds some is due again, or None
    when none is left. When it raises, the tenant is polled again after `retry_seconds`. Another
    process claims the tenant after `lease_seconds`, if this one has not come to an end by then: so
    `handle` must be harmless when it runs twice at the same time.

    Tenants that are not active are polled every five minutes, and `handle` is not called; once
    they are active again, they are polled at once.

    After its start, and after an outage of the management database, every active tenant is polled
    within ten minutes, because a process that died meanwhile may have been unable to schedule some;
    after outages at most once in ten minutes. `poll_all_after_outage` False is for work that no
    call schedules.
    """

    def __init__(
        self,
        table: PendingWorkTable,
        data: DataPlane,
        handle: Callable[[str], Awaitable[float | None]],
        *,
        interval_seconds: float = 1.0,
        at_once: int = 8,
        lease_seconds: float = 60.0,
        retry_seconds: float = 60.0,
        poll_all_after_outage: bool = True,
    ) -> None:
        self._table = table
        self._data = data
        self._handle = handle
        self._interval_seconds = interval_seconds
        self._at_once = at_once
        self._lease_seconds = lease_seconds
        self._retry_seconds = retry_seconds
        self._poll_all_after_outage = self._poll_all = poll_all_after_outage
        self._poll_all_at = self._insert_missing_at = self._polled_until = 0.0
        self._poll_all_pause = 0.0  # an outage may follow the start at once
        self._inactive: set[str] = set()
        self._labels = table.name, table.kind or ""
        self._running: asyncio.Task[None] | None = None
        self._retry_log = RetryLog(
            _log,
            "pending_work.unavailable",
            "the tenants with pending work are not known",
            table=table.name,
        )

    def start(self) -> None:
        """Start to poll."""
        polled = PENDING_WORK_POLLED.labels(*self._labels)
        polled.set_function(lambda: min(time.time(), self._polled_until))
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Cancel the calls of `handle`, and poll no more; another process continues."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait((self._running,))

    async def poll(self) -> int:
        """Handle the tenants that are due now, `at_once` at most; return how many there were.

        Raises DomainError when the management database is away.
        """
        claimed = await self._claim(self._at_once)
        await asyncio.gather(*map(self._handle_one, claimed))
        return len(claimed)

    async def _run(self) -> None:
        active: set[asyncio.Task[None]] = set()
        try:
            while True:
                room = self._at_once - len(active)
                claimed = await self._claim_if_possible(room)
                for tenant in claimed:
                    task = asyncio.create_task(self._handle_one(tenant))
                    active.add(task)
                    task.add_done_callback(active.discard)
                if len(claimed) == room:
                    await asyncio.wait(active, return_when=asyncio.FIRST_COMPLETED)
                else:
                    jitter = random.uniform(0.75, 1.25)  # noqa: S311 - keeps replicas apart
                    await asyncio.sleep(self._interval_seconds * jitter)
        finally:
            for task in active:
                task.cancel()
            await asyncio.gather(*active, return_exceptions=True)

    async def _claim_if_possible(self, limit: int) -> tuple[ClaimedTenant, ...]:
        try:
            claimed = await self._claim(limit)
        except DomainError as error:
            self._poll_all = self._poll_all_after_outage
            self._retry_log.failed(error)
            return ()
        except Exception:
            _log.exception(
                "tenants with pending work could not be claimed",
                extra={"event": "pending_work.claim_failed", "table": self._table.name},
            )
            return ()
        self._retry_log.succeeded()
        # Nothing is to be looked for until then: with its jitter, or while all are occupied.
        busy = len(claimed) == limit
        seconds = self._lease_seconds if busy else 1.25 * self._interval_seconds
        self._polled_until = time.time() + seconds
        for one in claimed:
            PENDING_WORK_LAG.labels(*self._labels).observe(one.late_seconds)
        return claimed

    async def _claim(self, limit: int) -> tuple[ClaimedTenant, ...]:
        directory, now = self._data.directory, time.monotonic()
        async with self._data.management.connection() as connection:
            if directory.is_ready and self._poll_all and now >= self._poll_all_at:
                await pending_work.poll_within(
                    connection, self._table, directory.active(), _POLL_ALL_SECONDS
                )
                self._poll_all, self._poll_all_at = False, now + self._poll_all_pause
                self._poll_all_pause = _POLL_ALL_SECONDS
            if resumed := self._resumed():
                await pending_work.poll_within(connection, self._table, resumed, 0.0)
                self._inactive -= resumed
            if directory.is_ready and now >= self._insert_missing_at:
                await pending_work.insert_missing(connection, self._table, directory.active())
                self._insert_missing_at = now + _MISSING_SECONDS
            return await pending_work.claim(connection, self._table, limit, self._lease_seconds)

    async def _handle_one(self, claimed: ClaimedTenant) -> None:
        """Handle a tenant, and set when it is polled next; if that fails, the lease decides."""
        about = {"tenant_id": claimed.tenant_id, "table": self._table.name}
        outcome = "done"
        try:
            seconds = await self._seconds_until_next(claimed.tenant_id)
        except DomainError as error:
            _log.warning(
                "a tenant's pending work must wait",
                extra={"event": "pending_work.postponed", "why": error.message, **about},
            )
            seconds, outcome = self._retry_seconds, "postponed"
        except Exception:
            _log.exception(
                "a tenant's pending work could not be done",
                extra={"event": "pending_work.failed", **about},
            )
            seconds, outcome = self._retry_seconds, "failed"
        PENDING_WORK_HANDLED.labels(*self._labels, outcome).inc()
        try:
            async with self._data.management.connection() as connection:
                if seconds is None:
                    await pending_work.complete(connection, self._table, claimed)
                else:
                    await pending_work.reschedule(connection, self._table, claimed, seconds)
        except DomainError as error:
            _log.info(
                "a tenant will be polled when its lease ends",
                extra={"event": "pending_work.lease_kept", "why": error.message, **about},
            )

    async def _seconds_until_next(self, tenant_id: str) -> float | None:
        entry = self._data.directory.find(tenant_id)
        if entry is None and self._data.directory.is_ready:
            return None  # the tenant was deleted
        if entry is not None and not entry.active:
            self._inactive.add(tenant_id)
            return _INACTIVE_SECONDS
        return await self._handle(tenant_id)

    def _resumed(self) -> set[str]:
        """Return the tenants that were not active when they were polled, and now are."""
        entries = {tenant_id: self._data.directory.find(tenant_id) for tenant_id in self._inactive}
        return {tenant_id for tenant_id, entry in entries.items() if entry and entry.active}
