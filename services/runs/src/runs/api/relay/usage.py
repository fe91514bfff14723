"""Makes the totals of runs the sums of the llm-gateway's ledger."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from runs.store import usage_checks
from servicekit.call import on_behalf_of
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from datetime import timedelta

    from dataplane.tenants import TenantPools
    from runs.peers.llm_gateway import LlmGateway

_RUNS = 100
_log = logging.getLogger(__name__)


class UsageChecker:
    """Adds up the calls of runs that have ended, those that were in flight then too.

    One request to llm-gateway is enough for many runs, so that reading runs needs none.
    """

    def __init__(self, tenants: TenantPools, gateway: LlmGateway) -> None:
        self._tenants = tenants
        self._gateway = gateway

    async def check(self, tenant_id: str) -> timedelta | None:
        """Check what is due; return in how long something is due again, None if nothing is.

        While llm-gateway is away, runs are left for later.
        """
        while True:
            async with self._tenants.connection(tenant_id) as connection:
                run_ids = await usage_checks.claim(connection, _RUNS)
            if run_ids:
                try:
                    with on_behalf_of(tenant_id=tenant_id):
                        usages = await self._gateway.summarize_usage(tenant_id, run_ids)
                except DomainError as error:
                    _log.info(
                        "the costs of runs are not known yet",
                        extra={
                            "event": "run_usage.check_postponed",
                            "tenant_id": tenant_id,
                            "why": error.message,
                        },
                    )
                else:
                    async with self._tenants.connection(tenant_id) as connection:
                        await usage_checks.settle(connection, usages)
            if len(run_ids) < _RUNS:
                async with self._tenants.connection(tenant_id) as connection:
                    return await usage_checks.next_due(connection)
