"""Connection pools: one for each database, within one budget for each database server.

Connections are opened when needed and closed when idle, so that an idle tenant costs nothing. A
connection is released without the reset query, which is three quarters of the cost of acquiring
one. So handlers leave nothing in a session: SET LOCAL, pg_advisory_xact_lock, no LISTEN, no
temporary tables. A connection that is released inside a transaction or broken is closed.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataplane.connection_parameters import AccessStale, Connection, ConnectionParameters, Login
from monitoring.metrics import DATABASE_REFUSALS
from servicekit.errors import TooManyCalls

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["AccessStale", "Connection"]

WAIT_SECONDS = 5.0
IDLE_SECONDS = 60.0
_CLOSE_SECONDS = 2.0
_SAME_POOL_SECONDS = 0.05


@dataclass(slots=True, weakref_slot=True)
class RoleConnections:
    """How many connections this process has open as one role to one database, in all pools."""

    opened: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    """A task in the queue. Its future gets a connection of the pool, or None: it may open one."""

    pool: Pool
    future: asyncio.Future[Connection | None]
    since: float


class DatabaseServer:
    """The connections that this process may hold open to one database server.

    Waiters are served first in, first out, except that those of the same pool go first for 50 ms:
    closing a connection and opening one of another pool costs more than most statements.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._free = budget
        self._idle: OrderedDict[Connection, tuple[Pool, float]] = OrderedDict()
        self._waiting: dict[_Waiter, None] = {}
        self._reaper: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()

    def counts(self) -> dict[str, int]:
        """Return how many connections are used and idle, and how many tasks wait for one."""
        used = self.budget - self._free - (idle := len(self._idle))
        return {"used": used, "idle": idle, "waiting": len(self._waiting)}

    def resize(self, budget: int) -> None:
        """Change the budget; what is open beyond it is closed once it is idle."""
        self._free += budget - self.budget
        self.budget = budget
        for connection in list(self._idle)[: max(0, -self._free)]:
            self._evict(connection)
        for waiter in list(self._waiting):
            if self._free > 0 and waiter.pool.has_room:
                self._free -= 1
                waiter.pool.role.opened += 1
                self._hand_over(waiter, None)

    async def acquire(self, pool: Pool) -> Connection:
        """Return a connection of a pool: an idle one, a new one, or the next to be released.

        `release` or `abandon` must follow. Raises TooManyCalls after 5 s, DatabaseUnavailable,
        AccessStale.
        """
        while pool.idle:
            connection = pool.idle.pop()
            del self._idle[connection]
            if not connection.is_closed():
                return connection
            self._closed(pool)
        if self._free > 0 and pool.has_room:
            self._free -= 1
            pool.role.opened += 1
        else:
            if self._idle and pool.has_room:
                self._evict(next(iter(self._idle)))
            connection = await self._wait(pool)
            if connection is not None:
                return connection
        try:
            return await pool.connect()
        except BaseException:
            self._closed(pool)
            raise

    def release(self, connection: Connection, pool: Pool) -> None:
        """Take a connection back; one that is broken or in a transaction is closed."""
        next_waiter = self._next_waiter(pool)
        if connection.is_closed():
            self._closed(pool)
        elif connection.is_in_transaction() or pool.retired or self._free < 0:
            self.abandon(connection, pool)
        elif next_waiter is None:
            pool.idle.append(connection)
            self._idle[connection] = (pool, time.monotonic())
            if self._reaper is None:
                self._reaper = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._reap)
        elif next_waiter.pool is pool:
            self._hand_over(next_waiter, connection)
        else:
            self.abandon(connection, pool)

    def abandon(self, connection: Connection, pool: Pool) -> None:
        """Close a connection; its place in the budget is free once the server has closed it."""
        closing = asyncio.create_task(self._close(connection, pool))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def retire(self, pool: Pool) -> None:
        """Close the idle connections of a pool now, and the others when they are released."""
        pool.retired = True
        for connection in pool.idle[:]:
            self._evict(connection)

    async def settled(self) -> None:
        """Wait until the connections that are being closed are closed."""
        await asyncio.gather(*self._closing)

    async def _close(self, connection: Connection, pool: Pool) -> None:
        try:
            # Gracefully: this waits for a cancelled statement, and for the server to close.
            await connection.close(timeout=_CLOSE_SECONDS)
        except Exception:  # whatever it is, the connection is not used again
            connection.terminate()
        finally:
            self._closed(pool)

    def _closed(self, pool: Pool) -> None:
        """Give the place of a closed connection to a waiter, or back to the budget."""
        pool.role.opened -= 1
        if self._free < 0:
            self._free += 1
            return
        for waiter in self._waiting:
            if waiter.pool.has_room:
                waiter.pool.role.opened += 1
                self._hand_over(waiter, None)
                return
        self._free += 1

    def _evict(self, connection: Connection) -> None:
        pool, _ = self._idle.pop(connection)
        pool.idle.remove(connection)
        self.abandon(connection, pool)

    def _next_waiter(self, pool: Pool) -> _Waiter | None:
        """Return who gets the connection that a pool releases, or its place in the budget."""
        first = next((w for w in self._waiting if w.pool is pool or w.pool.has_room), None)
        if first is None or time.monotonic() - first.since > _SAME_POOL_SECONDS:
            return first
        return next((w for w in self._waiting if w.pool is pool), first)

    def _hand_over(self, waiter: _Waiter, connection: Connection | None) -> None:
        del self._waiting[waiter]
        waiter.future.set_result(connection)

    async def _wait(self, pool: Pool) -> Connection | None:
        future: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        waiter = _Waiter(pool, future, time.monotonic())
        self._waiting[waiter] = None
        try:
            # Shielded: a connection that was handed over must not be lost to a cancellation. No
            # wait_for: it would lose the cancellation when both come together.
            async with asyncio.timeout(WAIT_SECONDS):
                return await asyncio.shield(future)
        except BaseException as error:
            if waiter in self._waiting:
                del self._waiting[waiter]
            elif (connection := future.result()) is not None:
                self.release(connection, pool)
            else:
                self._closed(pool)
            if isinstance(error, TimeoutError):
                DATABASE_REFUSALS.labels(pool.parameters.server_id).inc()
                limit = min(self.budget, pool.parameters.connection_limit)
                message = f"all {limit} connections to the database are in use"
                raise TooManyCalls(message, retry_after_ms="1000") from None
            raise

    def _reap(self) -> None:
        """Close the connections that have been idle for a minute."""
        self._reaper = None
        for connection, (_, since) in list(self._idle.items()):
            left = since + IDLE_SECONDS - time.monotonic()
            if left > 0:
                self._reaper = asyncio.get_running_loop().call_later(left, self._reap)
                return
            self._evict(connection)


class Pool:
    """The connections to one database as one role, within the budget of its server.

    `check` is awaited with each new connection; what it raises closes the connection.
    """

    def __init__(
        self,
        parameters: ConnectionParameters,
        server: DatabaseServer,
        application: str,
        check: Callable[[Connection], Awaitable[None]] | None = None,
        role: RoleConnections | None = None,
    ) -> None:
        self.parameters = parameters
        self.server = server
        self.idle: list[Connection] = []
        self.role = role or RoleConnections()
        self.retired = False
        self.connect = Login(parameters, application, check).connect

    @property
    def has_room(self) -> bool:
        """Whether the role may have another connection."""
        return self.role.opened < self.parameters.connection_limit
