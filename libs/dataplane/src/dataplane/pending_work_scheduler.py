"""Scheduling tenants before the transactions that make their pending work."""

from __future__ import annotations

import asyncio
import logging
import time
from contextvars import Context
from typing import TYPE_CHECKING

from dataplane import pending_work
from servicekit.errors import DeadlineExceeded, LimitExceeded, Unavailable
from servicekit.retries import DEFAULT_BACKOFF, RetryLog

if TYPE_CHECKING:
    from collections.abc import Collection

    from dataplane.pending_work import PendingWorkTable
    from dataplane.tenants import ManagementPool, TenantPools

_WAIT_SECONDS = 1.0
_WRITE_SECONDS = 5.0
_KNOWN_TENANTS = 10_000
_AWAY = (Unavailable, LimitExceeded, DeadlineExceeded, TimeoutError)
_log = logging.getLogger(__name__)


class PendingWorkScheduler:
    """Writes tenants to a table: one statement for all who wait, and seldom the same tenant twice.

    While the management database is away, calls go on after at most a second. Their tenants are
    kept in memory and written as soon as it is back. Those of a process that dies meanwhile are
    found when the poller polls every tenant after the outage, at the latest by the daily poll.
    """

    def __init__(
        self, table: PendingWorkTable, tenants: TenantPools, management: ManagementPool
    ) -> None:
        self._table = table
        self._tenants = tenants
        self._management = management
        self._relied_until: dict[str, float] = {}
        self._unwritten: dict[str, asyncio.Future[None]] = {}
        self._writer: asyncio.Task[None] | None = None
        self._away = False
        self._retry_log = RetryLog(
            _log,
            "pending_work.unavailable",
            "tenants with pending work cannot be scheduled",
            table=table.name,
        )

    async def schedule(self, tenant_id: str) -> None:
        """Schedule a poll of a tenant for the work of the transaction that begins after this.

        While the management database is away it returns after a second at most, and the tenant is
        scheduled later. Raises what reaching the tenant's database raises where there is no such
        tenant, or it is not active.
        """
        if time.monotonic() < self._relied_until.get(tenant_id, 0.0):
            return
        await self._tenants.check(tenant_id)
        written = self._unwritten.get(tenant_id)
        if written is None:
            written = self._unwritten[tenant_id] = asyncio.get_running_loop().create_future()
        if self._writer is None:
            # In a context of its own: it must not end with the deadline of this call.
            self._writer = asyncio.create_task(self._write(), context=Context())
        if not self._away:
            await asyncio.wait((written,), timeout=_WAIT_SECONDS)
        if written.done():
            written.result()

    def forget(self, tenant_id: str) -> None:
        """Rely on no row of a tenant: it has changed, and its rows may be gone with it."""
        self._relied_until.pop(tenant_id, None)

    async def _write(self) -> None:
        """Write the tenants that are not written yet, all together, until there are none."""
        delays = DEFAULT_BACKOFF.delays()
        while batch := dict(self._unwritten):
            begun, failure = time.monotonic(), None
            try:
                async with (
                    asyncio.timeout(_WRITE_SECONDS),
                    self._management.connection() as connection,
                ):
                    delay = self._table.delay_seconds
                    await pending_work.insert(connection, self._table, batch, delay)
            except _AWAY as error:
                self._away = True
                self._retry_log.failed(error)
                _finish(batch, None)  # their callers go on
                await asyncio.sleep(next(delays))
                continue
            except Exception as error:
                failure = error
            else:
                self._rely_on(batch, begun + self._table.rewrite_seconds)
            for tenant_id in batch:
                del self._unwritten[tenant_id]
            _finish(batch, failure)
        self._writer = None

    def _rely_on(self, tenant_ids: Collection[str], until: float) -> None:
        self._away = False
        self._retry_log.succeeded()
        if len(self._relied_until) > _KNOWN_TENANTS:
            self._relied_until.clear()
        self._relied_until.update(dict.fromkeys(tenant_ids, until))


def _finish(batch: dict[str, asyncio.Future[None]], failure: Exception | None) -> None:
    for written in batch.values():
        if written.done():
            continue
        if failure is None:
            written.set_result(None)
        else:
            written.set_exception(failure)
            written.exception()  # marks it as read: its callers may have gone on
