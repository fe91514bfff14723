"""A connection for the length of a block."""

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


class Lease:
    """Lends a connection while its block runs; in a transaction if so wished.

    The transaction is committed when the block ends well. What breaks the connection inside the
    block becomes DatabaseUnavailable, a statement that takes too long DeadlineExceeded.
    """

    def __init__(self, databases: Databases, tenant_id: str, *, transactional: bool) -> None:
        self._databases = databases
        self._tenant_id = tenant_id
        self._transactional = transactional
        self._transaction: Transaction | None = None

    async def __aenter__(self) -> Connection:
        self._pool, self._connection = await self._databases.acquire(self._tenant_id)
        if self._transactional and not await self._begin():
            # It broke while it lay idle, and nothing has been done on it.
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
        ending: BaseException | None = None
        try:
            await self._end_transaction(error)
        except BaseException as failure:
            ending = failure
        first = error or ending
        lost = first is not None and failures.is_away(first, self._connection)
        told = None if first is None else failures.told(first, self._connection)
        if lost or isinstance(first, asyncio.CancelledError):
            self._pool.server.abandon(self._connection, self._pool)
        else:
            self._pool.server.release(self._connection, self._pool)
        if told is not None:
            raise told from first
        if error is None and ending is not None:
            raise ending

    async def _begin(self) -> bool:
        """Begin the transaction; False if the connection turns out to be broken."""
        try:
            self._transaction = self._connection.transaction()  # raises, if it is closed by now
            await self._transaction.start()
        except BaseException as error:
            away = failures.is_away(error, self._connection)
            told = failures.told(error, self._connection)
            self._pool.server.abandon(self._connection, self._pool)
            if away:
                return False
            if told is not None:
                raise told from error
            raise
        return True

    async def _end_transaction(self, error: BaseException | None) -> None:
        if self._transaction is None or isinstance(error, asyncio.CancelledError):
            return
        if error is None:
            await self._transaction.commit()
        else:
            await self._transaction.rollback()
