"""The limits of tenants in memory, read again every few seconds."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from runs.domain.tenant_limits import USUAL
from runs.store import tenant_limits, workers
from servicekit.errors import DomainError
from servicekit.retries import RetryLog

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataplane.tenants import ManagementPool
    from runs.domain.tenant_limits import TenantLimits

_SECONDS = 5.0
_log = logging.getLogger(__name__)


class TenantLimitCache:
    """Says which limits a tenant has, without waiting. While the database is away they stay."""

    def __init__(self, management: ManagementPool) -> None:
        self._management = management
        self._limits: Mapping[str, TenantLimits] = {}
        self._usual = USUAL
        self._running: asyncio.Task[None] | None = None
        self._retry_log = RetryLog(
            _log, "tenant_limits.unavailable", "the limits of tenants are not known"
        )

    def of(self, tenant_id: str) -> TenantLimits:
        """Return a tenant's limits."""
        return self._limits.get(tenant_id, self._usual)

    def start(self) -> None:
        """Start to read."""
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Read no more."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait((self._running,))

    async def refresh(self) -> None:
        """Read them now. Raises DomainError."""
        async with self._management.connection() as connection:
            found = await tenant_limits.find_all(connection)
            steps = await workers.steps_at_once(connection)
        of_all = Counter(steps.pop("", {}))
        self._usual = replace(USUAL, steps_at_once=dict(of_all))
        self._limits = {
            tenant_id: replace(
                found.get(tenant_id, USUAL),
                steps_at_once=dict(of_all + Counter(steps.get(tenant_id, {}))),
            )
            for tenant_id in found.keys() | steps.keys()
        }

    async def _run(self) -> None:
        while True:
            try:
                await self.refresh()
            except DomainError as error:
                self._retry_log.failed(error)
            except Exception:
                _log.exception(
                    "the limits of tenants could not be read",
                    extra={"event": "tenant_limits.read_failed"},
                )
            else:
                self._retry_log.succeeded()
            await asyncio.sleep(_SECONDS)
