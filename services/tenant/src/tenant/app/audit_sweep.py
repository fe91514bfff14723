"""Chains what no other process has come to."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from servicekit.errors import DomainError
from servicekit.retries import RetryLog
from tenant.errors import TenantNotFound, TenantNotReady
from tenant.store import audit_logs, tenants

if TYPE_CHECKING:
    from dataplane.tenants import ManagementPool, TenantPools

_ROUND_SECONDS = 60.0
_TENANT_SECONDS = 0.6  # a visit opens a connection, which costs some 10 ms of processor time
_log = logging.getLogger(__name__)


class AuditSweep:
    """Visits the active tenants in turn, and chains the entries in their databases.

    A round takes a minute, or 0.6 s for each tenant if that is longer. So entries are chained that
    a killed process left in a database that nobody uses since, and those of services of a release
    that does not chain yet.
    """

    def __init__(
        self,
        management: ManagementPool,
        tenant_pools: TenantPools,
        round_seconds: float = _ROUND_SECONDS,
    ) -> None:
        self._management = management
        self._tenants = tenant_pools
        self._round_seconds = round_seconds
        self._running: asyncio.Task[None] | None = None
        self._retry_log = RetryLog(
            _log, "audit_sweep.unavailable", "audit logs of tenants cannot be visited"
        )

    def start(self) -> None:
        """Begin the first round."""
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Visit no more."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait((self._running,))

    async def _run(self) -> None:
        while True:
            try:
                failure = await self._round()
            except DomainError as error:
                failure = error
            except Exception:
                _log.exception(
                    "audit logs could not be visited", extra={"event": "audit_sweep.failed"}
                )
                await asyncio.sleep(self._round_seconds)
                continue
            if failure is None:
                self._retry_log.succeeded()
            else:
                self._retry_log.failed(failure)
                await asyncio.sleep(_TENANT_SECONDS)

    async def _round(self) -> DomainError | None:
        """Visit each tenant once; return the last refusal of one that is active."""
        async with self._management.connection() as connection:
            active = await tenants.active_ids(connection)
        failure = None
        pause = max(self._round_seconds / max(1, len(active)), _TENANT_SECONDS)
        for tenant_id in active:
            await asyncio.sleep(pause)
            try:
                async with self._tenants.connection(tenant_id) as connection:
                    await audit_logs.chain(connection)
            except (TenantNotFound, TenantNotReady):
                continue  # it was suspended meanwhile
            except DomainError as error:
                failure = error
        if not active:
            await asyncio.sleep(pause)
        return failure
