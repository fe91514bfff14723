"""Notes the tenants that have calls, so that the collector polls them."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from llm_gateway.store import pending_work
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from dataplane.tenants import ManagementPool, TenantPools

_WAIT_SECONDS = 1.0
_RETRY_SECONDS = 5.0
_log = logging.getLogger(__name__)


class PendingWork:
    """The tenants noted by this process, each written to the database once a minute."""

    def __init__(
        self, tenants: TenantPools, management: ManagementPool, delay_seconds: float
    ) -> None:
        self._tenants = tenants
        self._management = management
        self._delay_seconds = delay_seconds
        self._noted_until: dict[str, float] = {}

    async def note(self, tenant_id: str) -> None:
        """Make the collector poll the tenant, before a call is recorded.

        While the management database is away calls go on, after a second at most: what was not
        noted is found by the daily poll of each tenant. Raises what reaching the tenant's database
        raises where there is no such tenant.
        """
        now = time.monotonic()
        if self._noted_until.get(tenant_id, now) > now:
            return
        await self._tenants.check(tenant_id)
        self._noted_until[tenant_id] = now + pending_work.NOTE_VALID_SECONDS
        try:
            async with (
                asyncio.timeout(_WAIT_SECONDS),
                self._management.connection() as connection,
            ):
                await pending_work.note(connection, tenant_id, self._delay_seconds)
        except (DomainError, TimeoutError):
            _log.warning(
                "a tenant with calls could not be noted",
                extra={"event": "pending_work.note_failed", "tenant_id": tenant_id},
            )
            self._noted_until[tenant_id] = now + _RETRY_SECONDS
