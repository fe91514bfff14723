"""What runs have cost: their totals become the sums of the ledger."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from servicekit.call import on_behalf_of
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from datetime import timedelta

    from dataplane.tenants import TenantPools
    from runs.peers.llm_gateway import LlmGateway
    from runs.store.usage import UsageStore

_RUNS = 100
_log = logging.getLogger(__name__)


class UsageChecks:
    """Adds up the calls of runs that have ended, those that were in flight then too.

    One question to llm-gateway is enough for many runs, so that the reads of runs need none.
    """

    def __init__(self, tenants: TenantPools, usage: UsageStore, gateway: LlmGateway) -> None:
        self._tenants = tenants
        self._usage = usage
        self._gateway = gateway

    async def check(self, tenant_id: str) -> timedelta | None:
        """Check what is due; return in how long something is due again, None if nothing is.

        While llm-gateway is away, runs are left for later.
        """
        while True:
            async with self._tenants.connection(tenant_id) as connection:
                run_ids = await self._usage.claim(connection, _RUNS)
            if run_ids:
                try:
                    with on_behalf_of(tenant_id=tenant_id):
                        usages = await self._gateway.sums(tenant_id, run_ids)
                except DomainError as error:
                    about = {"tenant_id": tenant_id, "why": error.message}
                    _log.info("the costs of runs are not known yet", extra=about)
                else:
                    async with self._tenants.connection(tenant_id) as connection:
                        await self._usage.settle(connection, usages)
            if len(run_ids) < _RUNS:
                async with self._tenants.connection(tenant_id) as connection:
                    return await self._usage.next_due(connection)
