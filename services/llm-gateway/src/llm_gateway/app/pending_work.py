"""Tells the collector where it may have work, before a call is recorded."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from llm_gateway.store.pending_work import RELIED_SECONDS
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from dataplane.tenants import ManagementPool, TenantPools
    from llm_gateway.store.pending_work import PendingWorkStore

_WAIT_SECONDS = 1.0
_AGAIN_SECONDS = 5.0
_log = logging.getLogger(__name__)


class PendingWork:
    def __init__(
        self,
        tenants: TenantPools,
        management: ManagementPool,
        store: PendingWorkStore,
        delay_seconds: float,
    ) -> None:
        self._tenants = tenants
        self._management = management
        self._store = store
        self._delay_seconds = delay_seconds
        self._noted: dict[str, float] = {}

    async def note(self, tenant_id: str) -> None:
        """See to it that the collector visits the tenant; once a minute it is really written.

        While the management database is away calls go on, after a second at most: what was not
        noted is found by the visit that each tenant gets once a day. Raises what reaching the
        tenant's database raises where there is no such tenant.
        """
        now = time.monotonic()
        if self._noted.get(tenant_id, now) > now:
            return
        await self._tenants.check(tenant_id)
        self._noted[tenant_id] = now + RELIED_SECONDS
        try:
            async with (
                asyncio.timeout(_WAIT_SECONDS),
                self._management.connection() as connection,
            ):
                await self._store.note(connection, tenant_id, self._delay_seconds)
        except (DomainError, TimeoutError):
            _log.warning("a tenant with calls could not be noted", extra={"tenant_id": tenant_id})
            self._noted[tenant_id] = now + _AGAIN_SECONDS
