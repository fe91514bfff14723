"""Notifications of the management database: which tenants have changed."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg

from dataplane import failures
from tenant.errors import ServerUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from dataplane.pools import Connection

_CHANNEL = "tenants"
_LOST = (
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresConnectionError,
    OSError,
)


class Changes:
    """What has been heard on one connection, which is `connection`, free for reading between."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._heard: set[str] = set()
        self._news = asyncio.Event()

    def hear(self, _connection: object, _pid: int, _channel: str, tenant_id: object) -> None:
        self._heard.add(str(tenant_id))
        self._news.set()

    def lose(self, _: object) -> None:
        self._news.set()

    async def wait(self, seconds: float) -> set[str]:
        """Return which tenants have changed; none when all was quiet for so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return set()
        self._news.clear()
        heard, self._heard = self._heard, set()
        return heard


class ChangeFeed:
    """Listens on a connection of its own: a pool's would take its listeners away."""

    def __init__(self, login: Callable[[], Awaitable[Connection]], server_id: str) -> None:
        self._login = login
        self._server_id = server_id

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[Changes]:
        """Listen for the block. Raises ServerUnavailable, also when the connection breaks."""
        connection = await self._login()
        changes = Changes(connection)
        try:
            connection.add_termination_listener(changes.lose)
            await connection.add_listener(_CHANNEL, changes.hear)
            yield changes
        except Exception as error:
            if failures.is_unavailable(error, connection) or isinstance(error, _LOST):
                raise ServerUnavailable(self._server_id) from error
            raise
        finally:
            connection.terminate()
