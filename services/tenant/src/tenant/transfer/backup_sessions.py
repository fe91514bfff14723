"""Sessions of the temporary login role, by which one database is dumped or loaded as a whole."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tenant.domain.passwords import new_password, scram_verifier
from tenant.store import backup_roles
from tenant.store.dumps import DumpLogin
from tenant.transfer import table_contents, tables

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from dataplane.pools import Connection
    from tenant.domain.databases import Database
    from tenant.store.database_servers import DatabaseServers
    from tenant.store.dumps import DumpPrograms

_CLOSE_SECONDS = 5
_SETTINGS = {"statement_timeout": "0", "idle_in_transaction_session_timeout": "0"}


@dataclass(frozen=True, slots=True)
class DumpSession:
    """A session that has exported a snapshot and keeps it."""

    connection: Connection
    snapshot_id: str
    snapshot_time: str
    server_version: str
    login: DumpLogin
    programs: DumpPrograms

    async def dump(self, target: Path) -> None:
        """Write a custom-format dump of the snapshot. Raises BackupProgramFailed."""
        await self.programs.dump(self.login, self.snapshot_id, target)


@dataclass(frozen=True, slots=True)
class LoadSession:
    """A session that may change every table."""

    connection: Connection
    login: DumpLogin
    programs: DumpPrograms

    async def load(self, source: Path) -> None:
        """Replace all rows by those of a dump, but for those that name the installation.

        Raises BackupProgramFailed.
        """
        order = await table_contents.load_order(self.connection)
        await table_contents.delete_rows(self.connection)
        await self.programs.load(self.login, source, order, tables.OF_THE_INSTALLATION)


class BackupSessions:
    """Opens sessions of the temporary role; it is dropped when they end."""

    def __init__(self, servers: DatabaseServers, programs: DumpPrograms) -> None:
        self._servers = servers
        self._programs = programs

    @asynccontextmanager
    async def dumping(self, server_id: str, database: Database) -> AsyncGenerator[DumpSession]:
        """Export a snapshot for the block. Raises ServerUnavailable."""
        async with (
            self._session(server_id, database) as (connection, login),
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            row = await connection.fetchrow(
                """
                SELECT pg_export_snapshot() AS snapshot,
                       current_setting('server_version') AS version,
                       to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS time
                """
            )
            if row is None:
                raise LookupError("a query of one row has returned none")
            yield DumpSession(
                connection, row["snapshot"], row["time"], row["version"], login, self._programs
            )

    @asynccontextmanager
    async def loading(self, server_id: str, database: Database) -> AsyncGenerator[LoadSession]:
        """Open a session that may change every table. Raises ServerUnavailable."""
        async with self._session(server_id, database) as (connection, login):
            yield LoadSession(connection, login, self._programs)

    async def end(self, server_id: str, database: Database) -> None:
        """Terminate the sessions that a killed process left, and drop the role.

        pg_dump and pg_restore go on without the process that began them. Raises ServerUnavailable.
        """
        if (server := await self._servers.unless_lost(server_id)) is None:
            return
        async with server.provisioner() as provisioner:
            if not await backup_roles.exists(provisioner, database):
                return
        async with server.provisioner(database.manager) as provisioner:
            await backup_roles.drop(provisioner, database)

    @asynccontextmanager
    async def _session(
        self, server_id: str, database: Database
    ) -> AsyncGenerator[tuple[Connection, DumpLogin]]:
        server = await self._servers.of(server_id)
        password = new_password()
        async with server.provisioner(database.manager) as provisioner:
            await backup_roles.create(provisioner, database, scram_verifier(password))
        role = backup_roles.name_of(database)
        try:
            connection = await server.login(database.name, role, password, **_SETTINGS)
            try:
                yield (
                    connection,
                    DumpLogin(server.host, server.port, database.name, role, password),
                )
            finally:
                await connection.close(timeout=_CLOSE_SECONDS)
        finally:
            await asyncio.shield(self.end(server_id, database))
