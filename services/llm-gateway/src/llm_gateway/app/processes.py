"""The processes of the gateway that are known: this one tells that it is there, and of others.

Where a call's process is reached stands in a row of the tenant's database, which may have been
restored or imported. It is dialled with a token of this workload for the tenant, so it has to be
an address that a process of the gateway has announced in the management database.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from llm_gateway.store import processes
from servicekit.errors import DomainError
from servicekit.retries import RetryLog

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from dataplane.tenants import ManagementPool
    from llm_gateway.domain.calls import CallLease

_SECONDS = 30.0
_RETRY_SECONDS = 2.0
_KNOWN_SECONDS = 1.0
_log = logging.getLogger(__name__)


class GatewayProcesses:
    """Announces this process, and says which addresses belong to processes of the gateway."""

    def __init__(self, management: ManagementPool, process: CallLease) -> None:
        self._management = management
        self._process = process
        self._known: frozenset[str] = frozenset()
        self._read_at = self._due_at = 0.0

    async def is_known(self, endpoint: str) -> bool:
        """Return whether a process of the gateway has announced an address lately.

        An address that is not known is looked up at most once a second. Raises DomainError; while
        the management database is away the addresses that are known stay so.
        """
        now = time.monotonic()
        if endpoint not in self._known:
            if now - self._read_at > _KNOWN_SECONDS:
                await self._read()
        elif now >= self._due_at:
            self._due_at = now + _RETRY_SECONDS
            with suppress(DomainError):
                await self._read()
        return endpoint in self._known

    async def _read(self) -> None:
        async with self._management.connection() as connection:
            self._known = await processes.endpoints(connection)
        self._read_at = time.monotonic()
        self._due_at = self._read_at + _SECONDS

    @asynccontextmanager
    async def announcing(self) -> AsyncGenerator[None]:
        """Have others know this process inside the block."""
        task = asyncio.create_task(self._announce_forever())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})
            with suppress(DomainError):  # it is forgotten in time
                async with self._management.connection() as connection:
                    await processes.remove(connection, self._process.owner)

    async def _announce_forever(self) -> None:
        retry_log = RetryLog(_log, "process.unannounced", "other processes do not know this one")
        while True:
            seconds = _SECONDS
            try:
                async with self._management.connection() as connection:
                    await processes.put(connection, self._process.owner, self._process.endpoint)
                retry_log.succeeded()
            except DomainError as error:
                retry_log.failed(error)
                seconds = _RETRY_SECONDS
            except Exception:
                _log.exception(
                    "this process could not be announced",
                    extra={"event": "process.announcement_failed"},
                )
            await asyncio.sleep(seconds)
