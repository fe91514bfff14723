"""Locks over all processes of the tenant service."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from dataplane.pools import Connection
    from dataplane.tenants import ManagementPool


class Locks:
    """Named locks in the management database: they end with the process that holds them.

    `at_once` bounds how many this process holds or waits for there, because each takes a
    connection; those of this process who want the same one wait without.
    """

    def __init__(self, management: ManagementPool, at_once: int) -> None:
        self._management = management
        self._room = asyncio.Semaphore(at_once)
        self._here: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def holding(self, name: str) -> AsyncGenerator[Connection]:
        """Hold a lock for the block; lend the connection to the management database it lies on."""
        here = self._here.setdefault(name, asyncio.Lock())
        async with (
            here,
            self._room,
            self._management.connection() as connection,
            advisory_lock(connection, name),
        ):
            yield connection


@asynccontextmanager
async def advisory_lock(connection: Connection, name: str) -> AsyncGenerator[None]:
    """Hold a lock in the database of `connection`, as long as that lives."""
    await connection.execute("SELECT pg_advisory_lock(hashtextextended($1, 0))", name)
    try:
        yield
    finally:
        if not connection.is_closed():
            await connection.execute("SELECT pg_advisory_unlock(hashtextextended($1, 0))", name)
