"""Connections to databases: one pool a database, one budget a database server.

Opened when needed and closed when idle, so that a tenant at rest costs nothing. A connection goes
back without the reset query, which is three quarters of what getting one would cost. So handlers
leave nothing in a session: SET LOCAL, pg_advisory_xact_lock, no LISTEN, no temporary tables. What
comes back inside a transaction, cancelled or broken is closed.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import asyncpg

from dataplane import failures
from dataplane.failures import STATEMENT_SECONDS
from servicekit.errors import DatabaseUnavailable, DomainError, TooManyCalls

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

WAIT_SECONDS = 5.0
IDLE_SECONDS = 60.0
_CONNECT_SECONDS = 5.0
_CLOSE_SECONDS = 2.0
_PATIENCE_SECONDS = 0.05
_STALE = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ObjectNotInPrerequisiteStateError,
    asyncpg.InsufficientPrivilegeError,
)


class AccessStale(Exception):
    """The database does not know these credentials, or does not let anybody in (any more)."""


@dataclass(frozen=True, slots=True)
class Target:
    """A database, and how to log in to it."""

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)
    generation: int
    connection_limit: int
    server_id: str


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    """Somebody in the queue: gets a connection of the pool, or None and may open one."""

    pool: Pool
    future: asyncio.Future[Connection | None]
    since: float


class DatabaseServer:
    """The connections that this process may hold open to one database server.

    Who waits is served in the order of coming, but a connection changes its tenant at most every
    50 ms: to close it and open another costs more than most of what is done with it.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._free = budget
        self._idle: OrderedDict[Connection, tuple[Pool, float]] = OrderedDict()
        self._waiting: dict[_Waiter, None] = {}
        self._reaper: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def acquire(self, pool: Pool) -> Connection:
        """Return a connection of a pool: an idle one, a new one, or the next that comes back.

        `release` must follow. Raises TooManyCalls, DatabaseUnavailable, AccessStale.
        """
        while pool.idle:
            connection = pool.idle.pop()
            del self._idle[connection]
            if not connection.is_closed():
                return connection
            self._closed(pool)
        if self._free and pool.has_room:
            self._free -= 1
            pool.opened += 1
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
        """Take a connection back. What is not as it was lent is closed."""
        heir = self._heir(pool)
        if connection.is_closed():
            self._closed(pool)
        elif connection.is_in_transaction() or pool.retired:
            self.abandon(connection, pool)
        elif heir is None:
            pool.idle.append(connection)
            self._idle[connection] = (pool, time.monotonic())
            if self._reaper is None:
                self._reaper = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._reap)
        elif heir.pool is pool:
            self._hand(heir, connection)
        else:
            self.abandon(connection, pool)

    def abandon(self, connection: Connection, pool: Pool) -> None:
        """Close a connection; what it held is given on when the database server has let go."""
        closing = asyncio.create_task(self._close(connection, pool))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def retire(self, pool: Pool) -> None:
        """Close what is idle in a pool now, and what is lent when it comes back."""
        pool.retired = True
        for connection in pool.idle[:]:
            self._evict(connection)

    async def settled(self) -> None:
        """Wait until what is being closed is closed."""
        await asyncio.gather(*self._closing)

    async def _close(self, connection: Connection, pool: Pool) -> None:
        try:
            # Gracefully, because this waits for a cancelled statement, and for the server's end.
            await connection.close(timeout=_CLOSE_SECONDS)
        except Exception:  # whatever it is, the connection is not used again
            connection.terminate()
        finally:
            self._closed(pool)

    def _closed(self, pool: Pool) -> None:
        """Give on what a connection held that is no more."""
        pool.opened -= 1
        for waiter in self._waiting:
            if waiter.pool.has_room:
                waiter.pool.opened += 1
                self._hand(waiter, None)
                return
        self._free += 1

    def _evict(self, connection: Connection) -> None:
        pool, _ = self._idle.pop(connection)
        pool.idle.remove(connection)
        self.abandon(connection, pool)

    def _heir(self, pool: Pool) -> _Waiter | None:
        """Return who gets the connection, or its place, that a pool has to give."""
        first = next((w for w in self._waiting if w.pool is pool or w.pool.has_room), None)
        if first is None or time.monotonic() - first.since > _PATIENCE_SECONDS:
            return first
        return next((w for w in self._waiting if w.pool is pool), first)

    def _hand(self, waiter: _Waiter, connection: Connection | None) -> None:
        del self._waiting[waiter]
        waiter.future.set_result(connection)

    async def _wait(self, pool: Pool) -> Connection | None:
        future: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        waiter = _Waiter(pool, future, time.monotonic())
        self._waiting[waiter] = None
        try:
            # Shielded, because what has been handed over must not be lost to a cancellation; and no
            # wait_for, which would lose the cancellation when both come at once.
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
                limit = min(self._budget, pool.target.connection_limit)
                message = f"all {limit} connections to the database are in use"
                raise TooManyCalls(message, retry_after_ms="1000") from None
            raise

    def _reap(self) -> None:
        """Close what has been idle for too long."""
        self._reaper = None
        for connection, (_, since) in list(self._idle.items()):
            left = since + IDLE_SECONDS - time.monotonic()
            if left > 0:
                self._reaper = asyncio.get_running_loop().call_later(left, self._reap)
                return
            self._evict(connection)


class Pool:
    """The connections to one database as one role; its server's budget decides about them."""

    def __init__(
        self,
        target: Target,
        server: DatabaseServer,
        application: str,
        check: Callable[[Connection], Awaitable[None]] | None = None,
    ) -> None:
        self.target = target
        self.server = server
        self.idle: list[Connection] = []
        self.opened = 0
        self.retired = False
        self._application = application
        self._check = check

    @property
    def has_room(self) -> bool:
        """Whether the role may have another connection."""
        return self.opened < self.target.connection_limit

    async def connect(self) -> Connection:
        """Open a connection. Raises DatabaseUnavailable, AccessStale, and what the check raises."""
        target = self.target
        try:
            connection = await asyncpg.connect(
                host=target.host,
                port=target.port,
                database=target.database,
                user=target.user,
                password=target.password,
                timeout=_CONNECT_SECONDS,
                server_settings={
                    "application_name": self._application,
                    "statement_timeout": f"{STATEMENT_SECONDS}s",
                    "idle_in_transaction_session_timeout": f"{2 * STATEMENT_SECONDS}s",
                },
            )
        except _STALE as error:
            raise AccessStale(type(error).__name__) from None
        except asyncpg.TooManyConnectionsError as error:
            raise DatabaseUnavailable(
                "the database takes no more connections of this role: are more processes running "
                "than the tenant service's NAGAYA_PROCESSES_PER_SERVICE says?"
            ) from error
        except Exception as error:  # sockets, the protocol and the loop have many ways to fail
            raise DatabaseUnavailable("the database cannot be reached") from error
        if self._check is not None:
            await self._checked(connection, self._check)
        return connection

    async def _checked(
        self, connection: Connection, check: Callable[[Connection], Awaitable[None]]
    ) -> None:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await check(connection)
        except TimeoutError:
            connection.terminate()
            raise DatabaseUnavailable("the database does not answer") from None
        except _STALE as error:
            connection.terminate()
            raise AccessStale(type(error).__name__) from None
        except BaseException as error:
            told = None if isinstance(error, DomainError) else failures.told(error, connection)
            connection.terminate()
            if told is not None:
                raise told from error
            raise
