"""Where a database is, and how to log in to it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import asyncpg

from dataplane import failures
from dataplane.failures import STATEMENT_SECONDS
from servicekit.errors import DatabaseUnavailable, DomainError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

_CONNECT_SECONDS = 5.0
# A statement is planned once a connection: PostgreSQL would plan those with arrays for each call,
# which costs the largest more than running them. A plan made while a table is empty must be right
# when it is large, so none reads a whole table where an index serves; without JIT, which would
# compile those that have to.
_PLANNING = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off", "jit": "off"}
_STALE = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ObjectNotInPrerequisiteStateError,
    asyncpg.InsufficientPrivilegeError,
)


class AccessStale(Exception):
    """The database does not accept these credentials, or accepts no connections (any more)."""


@dataclass(frozen=True, slots=True)
class ConnectionParameters:
    """Where a database is, and how to log in to it.

    `generation` grows when the tenant's state or login changes, not when its server moves.
    `connection_limit` is how many connections this process may open as this role; `server_id` names
    the server whose budget they count against, and `server_limit` is this process's share of that
    budget; 0 when only its own counts.
    """

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)
    generation: int
    connection_limit: int
    server_id: str
    server_limit: int = 0
    next_password: str = field(default="", repr=False)
    """The password that the role is being given; empty unless it is."""


class Login:
    """Opens connections to one database as one role; `check` is awaited with each."""

    def __init__(
        self,
        parameters: ConnectionParameters,
        application: str,
        check: Callable[[Connection], Awaitable[None]] | None,
    ) -> None:
        self._parameters = parameters
        self._application = application
        self._check = check

    async def connect(self) -> Connection:
        """Open a connection. Raises DatabaseUnavailable, AccessStale, and what the check raises."""
        try:
            connection = await self._login()
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

    async def _login(self) -> Connection:
        """Log in with the first password; where that is wrong with the next one."""
        try:
            return await self._connect(self._parameters.password)
        except asyncpg.InvalidPasswordError:
            if not self._parameters.next_password:
                raise
            return await self._connect(self._parameters.next_password)

    async def _connect(self, password: str) -> Connection:
        to = self._parameters
        return await asyncpg.connect(
            host=to.host,
            port=to.port,
            database=to.database,
            user=to.user,
            password=password,
            timeout=_CONNECT_SECONDS,
            server_settings={
                "application_name": self._application,
                # Not what was set for the role or the database: the names of another schema
                # would come first.
                "search_path": "public",
                **_PLANNING,
                "statement_timeout": f"{STATEMENT_SECONDS}s",
                "idle_in_transaction_session_timeout": f"{2 * STATEMENT_SECONDS}s",
            },
        )

    async def _checked(
        self, connection: Connection, check: Callable[[Connection], Awaitable[None]]
    ) -> None:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await check(connection)
        except BaseException as error:
            ours = isinstance(error, DomainError)
            mapped = None if ours else failures.to_domain_error(error, connection)
            connection.terminate()
            if isinstance(error, TimeoutError):
                raise DatabaseUnavailable("the database does not answer") from None
            if isinstance(error, _STALE):
                raise AccessStale(type(error).__name__) from None
            if mapped is not None:
                raise mapped from error
            raise
