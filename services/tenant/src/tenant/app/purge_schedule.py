"""Begins the purges of deleted tenants whose time has come."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from servicekit.call import acting_as
from servicekit.errors import DomainError
from servicekit.identity import workload_principal
from servicekit.retries import RetryLog
from tenant.errors import TenantBusy, TenantNotFound
from tenant.errors.deletion import TenantNotDeleted
from tenant.store import tenants

if TYPE_CHECKING:
    from dataplane.tenants import ManagementPool
    from tenant.app.deletion import TenantDeletion

_INTERVAL_SECONDS = 30.0
_log = logging.getLogger(__name__)


class PurgeSchedule:
    """Looks for deleted tenants that are due, in every process; one of them begins each purge."""

    def __init__(
        self,
        management: ManagementPool,
        deletion: TenantDeletion,
        interval_seconds: float = _INTERVAL_SECONDS,
    ) -> None:
        self._management = management
        self._deletion = deletion
        self._interval_seconds = interval_seconds
        self._running: asyncio.Task[None] | None = None
        self._retry_log = RetryLog(
            _log, "purge_schedule.unavailable", "tenants that are to be purged cannot be found"
        )

    def start(self) -> None:
        """Begin to look."""
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Look no more; purges that have begun go on."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait((self._running,))

    async def _run(self) -> None:
        while True:
            try:
                with acting_as(workload_principal("tenant")):
                    await self._begin_due()
                self._retry_log.succeeded()
            except DomainError as error:
                self._retry_log.failed(error)
            except Exception:
                _log.exception(
                    "purges could not be begun", extra={"event": "purge_schedule.failed"}
                )
            await asyncio.sleep(self._interval_seconds)

    async def _begin_due(self) -> None:
        async with self._management.connection() as connection:
            due = await tenants.due_for_purge(connection)
        for tenant in due:
            # The same in every process and after every crash; names of databases never come again.
            request_id = f"purge/{tenant.database.name}/{tenant.generation}"
            with suppress(TenantBusy, TenantNotDeleted, TenantNotFound):  # looked at again soon
                await self._deletion.purge(tenant.tenant_id, request_id)
