"""Records what this worker can do, so that CreateRun refuses what nobody can, and how many steps at
once, which is how many runs of a tenant are under way.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from runs.store import workers
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from dataplane.tenants import ManagementPool
    from runs.domain.installed import Installed

_SECONDS = 60.0
_RETRY_SECONDS = 0.5  # until then its pipelines are refused as not installed
_log = logging.getLogger(__name__)


class Registration:
    """This worker's row, which says what it can do and that it works."""

    def __init__(
        self,
        management: ManagementPool,
        task_queue: str,
        installed: Installed,
        steps: int,
        tenant_share: int,
    ) -> None:
        self._management = management
        self._task_queue = task_queue
        self._installed = installed
        self._steps = steps
        self._tenant_share = tenant_share
        self._worker_id = uuid.uuid4().hex

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Keep the row fresh inside the block."""
        renewing = asyncio.create_task(self._renew_forever())
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            await self._remove()

    async def _renew_forever(self) -> None:
        while True:
            try:
                async with self._management.connection() as connection:
                    await workers.put(
                        connection,
                        self._worker_id,
                        self._task_queue,
                        self._installed,
                        self._steps,
                        self._tenant_share,
                    )
            except DomainError as error:
                _log.info(
                    "what is installed is recorded later",
                    extra={"event": "worker.registration_postponed", "why": error.message},
                )
                await asyncio.sleep(_RETRY_SECONDS)
            except Exception:
                _log.exception(
                    "what is installed could not be recorded",
                    extra={"event": "worker.registration_failed"},
                )
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                await asyncio.sleep(_SECONDS)

    async def _remove(self) -> None:
        try:
            async with self._management.connection() as connection:
                await workers.remove(connection, self._worker_id)
        except DomainError:
            return  # the row is forgotten in time
