"""LISTEN on the management database: which tenants have changed."""

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
_CONNECTION_ERRORS = (
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresConnectionError,
    OSError,
)


class Notifications:
    """The tenant ids that NOTIFY has named on one connection.

    `connection` may be used for queries between calls of `wait`.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._tenant_ids: set[str] = set()
        self._arrived = asyncio.Event()

    def on_notify(self, _connection: object, _pid: int, _channel: str, tenant_id: object) -> None:
        self._tenant_ids.add(str(tenant_id))
        self._arrived.set()

    def on_termination(self, _: object) -> None:
        """Wake `wait`: the next query on the connection tells why it ended."""
        self._arrived.set()

    async def wait(self, seconds: float) -> set[str]:
        """Return the tenants that have changed; an empty set after `seconds` without any."""
        try:
            async with asyncio.timeout(seconds):
                await self._arrived.wait()
        except TimeoutError:
            return set()
        self._arrived.clear()
        tenant_ids, self._tenant_ids = self._tenant_ids, set()
        return tenant_ids


class NotificationListener:
    """LISTENs on a connection of its own: a pool would remove the listeners."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]], server_id: str) -> None:
        self._connect = connect
        self._server_id = server_id

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[Notifications]:
        """Listen for the block. Raises ServerUnavailable, also when the connection breaks."""
        connection = await self._connect()
        notifications = Notifications(connection)
        try:
            connection.add_termination_listener(notifications.on_termination)
            await connection.add_listener(_CHANNEL, notifications.on_notify)
            yield notifications
        except Exception as error:
            if failures.is_unavailable(error, connection) or isinstance(error, _CONNECTION_ERRORS):
                raise ServerUnavailable(self._server_id) from error
            raise
        finally:
            connection.terminate()
