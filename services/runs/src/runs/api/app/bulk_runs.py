"""Steering many runs at once: those that a filter names, a page of them a call."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from runs.api.app.run_steering import CHECKS
from runs.domain.bulk import BulkPage, BulkResult
from runs.domain.runs import Failure, RunOperation
from runs.store import runs
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from dataplane.tenants import TenantPools
    from runs.api.app.run_steering import RunSteering
    from runs.domain.bulk import Bulk
    from runs.domain.runs import Run

_AT_ONCE = 8


class BulkRuns:
    """Pauses, resumes, cancels and retries the runs that a filter names."""

    def __init__(self, tenants: TenantPools, steering: RunSteering) -> None:
        self._tenants = tenants
        self._steering = steering

    async def steer(self, tenant_id: str, asked: Bulk) -> BulkPage:
        """Steer a page of the runs. What is refused for one is told, and keeps no other.

        In a dry run nothing changes: it is told what would be refused by the runs' states.
        """
        async with self._tenants.connection(tenant_id) as connection:
            page = await runs.page(connection, asked.wanted, asked.page_size, asked.page_token)
        at_once = asyncio.Semaphore(_AT_ONCE)

        async def one(run: Run) -> BulkResult:
            async with at_once:
                try:
                    CHECKS[asked.operation](run)
                    if asked.dry_run:
                        return BulkResult(run)
                    return BulkResult(await self._steer_one(tenant_id, run, asked))
                except DomainError as error:
                    reason = error.reason.removeprefix("ERROR_REASON_")
                    return BulkResult(run, Failure(reason, error.message))

        return BulkPage(tuple(await asyncio.gather(*map(one, page.items))), page.next_token)

    async def _steer_one(self, tenant_id: str, run: Run, asked: Bulk) -> Run:
        match asked.operation:
            case RunOperation.PAUSE:
                return await self._steering.pause(tenant_id, run.run_id)
            case RunOperation.RESUME:
                return await self._steering.resume(tenant_id, run.run_id)
            case RunOperation.CANCEL:
                return await self._steering.cancel(tenant_id, run.run_id)
            case RunOperation.RETRY:
                return await self._steering.retry(tenant_id, run.run_id, asked.retry)
