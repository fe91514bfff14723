"""Notes that a tenant has pending work, before its transaction begins."""

from __future__ import annotations

import asyncio
import time
from contextvars import Context
from datetime import timedelta
from typing import TYPE_CHECKING

from runs.store import pending_work
from servicekit.errors import Unavailable

if TYPE_CHECKING:
    from dataplane.tenants import ManagementPool, TenantPools

_GOOD_SECONDS = 60.0
_DELAY = timedelta(seconds=5)


class PendingWork:
    """Notes tenants with work: one statement for all who ask meanwhile, one per tenant in 10 s."""

    def __init__(self, tenants: TenantPools, management: ManagementPool) -> None:
        self._tenants = tenants
        self._management = management
        self._noted: dict[str, float] = {}
        self._writing: dict[str, asyncio.Task[None]] = {}

    async def note(self, tenant_id: str) -> None:
        """Return once it is certain that a relay will look at the tenant.

        Raises Unavailable when the management database is away for longer than a minute, and what
        reaching the tenant's database raises where there is no such tenant.
        """
        age = time.monotonic() - self._noted.get(tenant_id, float("-inf"))
        if age < pending_work.RENEWED.total_seconds():
            return
        await self._tenants.check(tenant_id)
        writing = self._writing.get(tenant_id)
        if writing is None:
            # Not in the context of this call: the others may have more time left.
            writing = asyncio.create_task(self._write(tenant_id), context=Context())
            self._writing[tenant_id] = writing
            writing.add_done_callback(lambda _: self._writing.pop(tenant_id, None))
        try:
            await asyncio.shield(writing)
        except Unavailable:
            if age > _GOOD_SECONDS:
                raise

    async def _write(self, tenant_id: str) -> None:
        begun = time.monotonic()
        async with self._management.connection() as connection:
            await pending_work.note(connection, tenant_id, _DELAY)
        self._noted[tenant_id] = begun
