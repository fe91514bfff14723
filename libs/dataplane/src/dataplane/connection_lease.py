"""A database connection for the length of an `async with` block."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from dataplane import failures
from servicekit.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from types import TracebackType

    from asyncpg.transaction import Transaction

    from dataplane.databases import Databases
    from dataplane.pools import Connection


class ConnectionLease:
    """Acquires a connection for the block and releases it afterwards.

    `transactional`: the block is one transaction, committed when it ends without an error. A
    connection that breaks inside the block raises DatabaseUnavailable, a statement of more than
    30 s DeadlineExceeded. `is_use`: who waits for uses of the database is told.
    """

    def __init__(
        self, databases: Databases, tenant_id: str, *, transactional: bool, is_use: bool = True
    ) -> None:
        self._databases = databases
        self._tenant_id = tenant_id
        self._transactional = transactional
        self._is_use = is_use
        self._transaction: Transaction | None = None

    async def __aenter__(self) -> Connection:
        self._pool, self._connection = await self._databases.acquire(self._tenant_id)
        if self._transactional and not await self._begin():
            # It broke while it was idle, and no statement has been sent on it.
            self._pool, self._connection = await self._databases.acquire(self._tenant_id)
            if not await self._begin():
                raise DatabaseUnavailable("connections to the database break at once")
        return self._connection

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        end_error: BaseException | None = None
        try:
            await self._end_transaction(error)
        except BaseException as failure:
            end_error = failure
        first = error or end_error
        lost = first is not None and failures.is_unavailable(first, self._connection)
        mapped = None if first is None else failures.to_domain_error(first, self._connection)
        if lost or isinstance(first, asyncio.CancelledError):
            self._pool.server.abandon(self._connection, self._pool)
        else:
            self._pool.server.release(self._connection, self._pool)
        if self._is_use:
            self._databases.used(self._tenant_id)
        if mapped is not None:
            raise mapped from first
        if error is None and end_error is not None:
            raise end_error

    async def _begin(self) -> bool:
        """Begin the transaction; return False if the connection turns out to be broken."""
        try:
            self._transaction = self._connection.transaction()  # raises, if it is closed by now
            await self._transaction.start()
        except BaseException as error:
            broken = failures.is_unavailable(error, self._connection)
            mapped = failures.to_domain_error(error, self._connection)
            self._pool.server.abandon(self._connection, self._pool)
            if broken:
                return False
            if mapped is not None:
                raise mapped from error
            raise
        return True

    async def _end_transaction(self, error: BaseException | None) -> None:
        if self._transaction is None or isinstance(error, asyncio.CancelledError):
            return
        if error is None:
            await self._transaction.commit()
        else:
            await self._transaction.rollback()
