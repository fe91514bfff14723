"""Advisory locks in the management database: one holder among all processes of the service."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import asyncpg

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from dataplane.pools import Connection
    from dataplane.tenants import ManagementPool


class LockHeld(Exception):
    """Somebody else holds a lock for longer than it was to be waited for."""


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
    async def holding(
        self, name: str, wait_seconds: float | None = None
    ) -> AsyncGenerator[Connection]:
        """Hold a lock for the block; yield the management database's connection that has it.

        Raises LockHeld when somebody else has it for `wait_seconds`.
        """
        local = self._local.setdefault(name, asyncio.Lock())
        try:
            async with asyncio.timeout(wait_seconds):
                await local.acquire()
        except TimeoutError:
            raise LockHeld(name) from None
        try:
            async with (
                self._slots,
                self._management.connection() as connection,
                advisory_lock(connection, name, wait_seconds),
            ):
                yield connection
        finally:
            local.release()

    @asynccontextmanager
    async def trying(self, name: str) -> AsyncGenerator[Connection | None]:
        """Hold a lock for the block, if nobody else does now; else yield None.

        It counts against no limit: the caller has one of its own.
        """
        local = self._local.setdefault(name, asyncio.Lock())
        if local.locked():
            yield None
            return
        async with local, self._management.connection() as connection:
            if not await connection.fetchval(_TRY, name):
                yield None
                return
            try:
                yield connection
            finally:
                await _unlock(connection, name)


_TRY = "SELECT pg_try_advisory_lock(hashtextextended($1, 0))"
# The setting is of this statement's transaction only; 0 is no limit.
_LOCK = """
SELECT set_config('lock_timeout', $2, true), pg_advisory_lock(hashtextextended($1, 0))
"""


@asynccontextmanager
async def advisory_lock(
    connection: Connection, name: str, wait_seconds: float | None = None
) -> AsyncGenerator[None]:
    """Hold an advisory lock of the session `connection` for the block. Raises LockHeld."""
    try:
        await connection.execute(_LOCK, name, f"{round(1000 * (wait_seconds or 0))}ms")
    except asyncpg.LockNotAvailableError:
        raise LockHeld(name) from None
    try:
        yield
    finally:
        await _unlock(connection, name)


async def _unlock(connection: Connection, name: str) -> None:
    if not connection.is_closed():
        await connection.execute("SELECT pg_advisory_unlock(hashtextextended($1, 0))", name)
