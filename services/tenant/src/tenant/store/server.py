"""Connections to the database server: of the provisioner, and of other roles."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg

from dataplane.connection_parameters import ConnectionParameters
from dataplane.databases import Databases
from dataplane.tenants import ManagementPool
from servicekit.errors import DatabaseUnavailable
from tenant.domain.databases import Database
from tenant.errors import ServerUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from dataplane.pools import Connection
    from tenant.config import ProvisionerAddress

APPLICATION = "tenant"
_LOGIN_SECONDS = 10.0
_log = logging.getLogger(__name__)


class ProvisionedServer:
    """One PostgreSQL server, on which the provisioner creates databases and roles.

    `management` is the management database: the one that `address` names, unless another is given.
    Its name begins the names of roles on every server.
    """

    def __init__(
        self,
        server_id: str,
        address: ProvisionerAddress,
        connections: int = 6,
        management: Database | None = None,
    ) -> None:
        self.server_id = server_id
        self.host = address.host
        self.port = address.port
        self.management = management or Database(address.database)
        self._login = ConnectionParameters(
            host=address.host,
            port=address.port,
            database=address.database,
            user=address.user,
            password=address.password,
            generation=0,
            connection_limit=connections,
            server_id=server_id,
        )
        self._databases = Databases(self._resolve, APPLICATION, connections)
        self._pool = ManagementPool(self._databases)

    @asynccontextmanager
    async def provisioner(self, manager: str = "") -> AsyncGenerator[Connection]:
        """Lend a connection of the provisioner, with SET ROLE to a manager role if one is named.

        Raises ServerUnavailable, also when the connection breaks.
        """
        try:
            async with self._pool.connection() as connection:
                if not manager:
                    yield connection
                    return
                await connection.execute(f'SET ROLE "{manager}"')
                try:
                    yield connection
                finally:
                    if not connection.is_closed():
                        await connection.execute("RESET ROLE")
        except DatabaseUnavailable as error:
            raise ServerUnavailable(self.server_id) from error

    @asynccontextmanager
    async def provisioner_of(self, database: str) -> AsyncGenerator[Connection]:
        """Connect as the provisioner to a database of its own. Raises ServerUnavailable."""
        connection = await self.login(database, self._login.user, self._login.password)
        try:
            yield connection
        finally:
            await connection.close(timeout=_LOGIN_SECONDS)

    async def login(self, database: str, role: str, password: str, **settings: str) -> Connection:
        """Connect as any role; the caller closes the connection. Raises ServerUnavailable."""
        try:
            return await asyncpg.connect(
                host=self.host,
                port=self.port,
                database=database,
                user=role,
                password=password,
                timeout=_LOGIN_SECONDS,
                statement_cache_size=0,
                # What was set for the role or the database could put another schema first.
                server_settings={"application_name": APPLICATION, "search_path": "public"}
                | settings,
            )
        except Exception as error:  # sockets, the protocol and the loop have many ways to fail
            _log.warning(
                "a database connection could not be opened",
                extra={
                    "event": "database_connection.failed",
                    "database": database,
                    "role": role,
                    "why": type(error).__name__,
                },
            )
            raise ServerUnavailable(self.server_id) from error

    async def provisioner_login(self, database: str) -> Connection:
        """Connect to any database as the provisioner; the caller closes the connection.

        Raises ServerUnavailable.
        """
        return await self.login(database, self._login.user, self._login.password)

    async def try_login(self, database: str, role: str, password: str) -> str:
        """Return the SQLSTATE with which the server refuses a login; empty if it does not.

        Raises ServerUnavailable.
        """
        try:
            connection = await asyncpg.connect(
                host=self.host,
                port=self.port,
                database=database,
                user=role,
                password=password,
                timeout=_LOGIN_SECONDS,
            )
        except asyncpg.PostgresError as error:
            return error.sqlstate or "XX000"
        except Exception as error:  # sockets, the protocol and the loop have many ways to fail
            raise ServerUnavailable(self.server_id) from error
        connection.terminate()
        return ""

    async def close(self) -> None:
        """Close the provisioner's connections; return when those that are idle are closed."""
        self._databases.close()
        await self._databases.settled()

    async def _resolve(self, _: str) -> ConnectionParameters:
        return self._login
