"""The database server: its provisioner, and sessions of other roles."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg

from dataplane.databases import Databases
from dataplane.pools import ConnectionParameters
from dataplane.tenants import ManagementPool
from servicekit.errors import DatabaseUnavailable
from tenant.domain.databases import Database
from tenant.errors import ServerUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from dataplane.pools import Connection
    from tenant.config import DatabaseAddress

APPLICATION = "tenant"
_LOGIN_SECONDS = 10.0
_log = logging.getLogger(__name__)


class Server:
    """One server of databases, which the provisioner makes and never enters."""

    def __init__(self, server_id: str, address: DatabaseAddress, connections: int = 6) -> None:
        self.server_id = server_id
        self.host = address.host
        self.port = address.port
        self.management = Database(address.database)
        self._provisioner = ConnectionParameters(
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
    async def provisioning(self, steward: str = "") -> AsyncGenerator[Connection]:
        """Lend a connection of the provisioner to the management database, acting as a steward.

        Raises ServerUnavailable, also when the connection breaks.
        """
        try:
            async with self._pool.connection() as connection:
                if not steward:
                    yield connection
                    return
                await connection.execute(f'SET ROLE "{steward}"')
                try:
                    yield connection
                finally:
                    if not connection.is_closed():
                        await connection.execute("RESET ROLE")
        except DatabaseUnavailable as error:
            raise ServerUnavailable(self.server_id) from error

    async def login(self, database: str, role: str, password: str, **settings: str) -> Connection:
        """Open a session; the caller closes it. Raises ServerUnavailable."""
        try:
            return await asyncpg.connect(
                host=self.host,
                port=self.port,
                database=database,
                user=role,
                password=password,
                timeout=_LOGIN_SECONDS,
                statement_cache_size=0,
                server_settings={"application_name": APPLICATION} | settings,
            )
        except Exception as error:  # sockets, the protocol and the loop have many ways to fail
            why = {"database": database, "role": role, "why": type(error).__name__}
            _log.warning("a session could not be opened", extra=why)
            raise ServerUnavailable(self.server_id) from error

    def close(self) -> None:
        """Close the provisioner's connections."""
        self._databases.close()

    async def _resolve(self, _: str) -> ConnectionParameters:
        return self._provisioner
