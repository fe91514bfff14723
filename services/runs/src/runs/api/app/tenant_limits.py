"""Limits of tenants: setting them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataplane import audit
from runs.store import tenant_limits

if TYPE_CHECKING:
    from dataplane.tenants import ManagementPool
    from runs.domain.tenant_limits import TenantLimits
    from runs.tenant_limit_cache import TenantLimitCache


class TenantLimitChanges:
    """Sets limits: in effect here when the method returns, elsewhere within five seconds."""

    def __init__(self, management: ManagementPool, cache: TenantLimitCache) -> None:
        self._management = management
        self._cache = cache

    async def put(self, tenant_id: str, limits: TenantLimits) -> None:
        """Set a tenant's limits; the same again changes nothing."""
        async with self._management.transaction() as connection:
            if await tenant_limits.put(connection, tenant_id, limits):
                details = {
                    "weight": limits.weight,
                    "max_steps": limits.max_steps,
                    "starts_per_minute": limits.starts_per_minute,
                    "max_runs": limits.max_runs,
                }
                await audit.append(connection, "tenant_limits.set", "tenant", tenant_id, details)
        await self._cache.refresh()
