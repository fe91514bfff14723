"""Advisory locks in the management database: one holder among all processes of the service."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from dataplane.pools import Connection
    from dataplane.tenants import ManagementPool


class AdvisoryLocks:
    """Named session-level advisory locks; PostgreSQL releases them when the process dies.

    `limit` bounds how many this process holds or waits for, because each takes a connection. Tasks
    of this process that want the same lock wait for an asyncio.Lock, without a connection.
    """

    def __init__(self, management: ManagementPool, limit: int) -> None:
        self._management = management
        self._slots = asyncio.Semaphore(limit)
        self._local: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def holding(self, name: str) -> AsyncGenerator[Connection]:
        """Hold a lock for the block; yield the management database's connection that has it."""
        local = self._local.setdefault(name, asyncio.Lock())
        async with (
            local,
            self._slots,
            self._management.connection() as connection,
            advisory_lock(connection, name),
        ):
            yield connection


@asynccontextmanager
async def advisory_lock(connection: Connection, name: str) -> AsyncGenerator[None]:
    """Hold an advisory lock of the session `connection` for the block."""
    await connection.execute("SELECT pg_advisory_lock(hashtextextended($1, 0))", name)
    try:
        yield
    finally:
        if not connection.is_closed():
            await connection.execute("SELECT pg_advisory_unlock(hashtextextended($1, 0))", name)
