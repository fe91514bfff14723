"""Loads backups into databases that no tenant has yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenant.domain.backups import BackupState
from tenant.domain.databases import OPERATION, Database, new_tenant_database
from tenant.errors.backups import BackupNotComplete, BackupNotFound
from tenant.store import backups, identities

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataplane.pools import Connection
    from tenant.app.backup_reader import BackupReader
    from tenant.domain.audit import ChainLink
    from tenant.domain.backups import Backup, DatabaseContent, Manifest, Report
    from tenant.domain.operations import Operation
    from tenant.operations.operations import Operations
    from tenant.provisioning import Provisioning
    from tenant.store.database_servers import DatabaseServers
    from tenant.transfer.backup_sessions import BackupSessions


class BackupLoading:
    """Makes databases of backups, on any server and under any names of roles."""

    def __init__(
        self,
        servers: DatabaseServers,
        provisioning: Provisioning,
        sessions: BackupSessions,
        reader: BackupReader,
        begun: Operations,
    ) -> None:
        self._servers = servers
        self._provisioning = provisioning
        self._sessions = sessions
        self._reader = reader
        self._operations = begun

    def report(self, operation: Operation) -> Report:
        """Return what tells of the progress of an operation's step."""

        async def report(done: int, total: int, unit: str) -> None:
            await self._operations.progress(operation, done, total, unit)

        return report

    def new_database(self, server_id: str) -> dict[str, object]:
        """Return notes that name a new database, by which `noted` finds it."""
        database = new_tenant_database(self._servers.main.management)
        return {"server_id": server_id, "database": database.name, "manager": database.manager}

    async def check(self, connection: Connection, backup_id: str) -> tuple[Backup, Manifest]:
        """Return a backup that can be restored here, and its verified manifest.

        Raises BackupNotFound, BackupNotComplete, BackupDamaged, MigrationsUnpublished,
        MigrationChanged.
        """
        backup = await backups.get(connection, backup_id)
        if backup is None:
            raise BackupNotFound(backup_id)
        if backup.state is not BackupState.COMPLETE:
            raise BackupNotComplete(backup_id, backup.state)
        manifest = await self._reader.manifest(connection, backup)
        await self._reader.migrations(connection, manifest)
        return backup, manifest

    async def load(
        self,
        connection: Connection,
        operation: Operation,
        backup_id: str,
        server_id: str,
        database: Database,
        passwords: Mapping[str, str],
    ) -> None:
        """Make a database anew, load a backup into it, and compare.

        It has the backup's migrations afterwards, and no row that names its tenant. Raises what
        `check` raises, BackupProgramFailed, MigrationFailed and ServerUnavailable.
        """
        backup, manifest = await self.check(connection, backup_id)
        await self._drop(server_id, database)  # of an attempt that was interrupted
        await self._provisioning.create(
            connection,
            server_id,
            database,
            passwords,
            f"{OPERATION}{operation.operation_id}",
            await self._reader.migrations(connection, manifest),
        )
        await self._reader.load(backup, manifest, server_id, database, self.report(operation))

    async def put_objects(
        self, connection: Connection, operation: Operation, backup_id: str, tenant_id: str
    ) -> Manifest:
        """Have artifacts store a backup's objects for a tenant; return the manifest."""
        backup, manifest = await self.check(connection, backup_id)
        await self._reader.put_objects(backup, manifest, tenant_id, self.report(operation))
        return manifest

    async def check_objects(
        self, connection: Connection, operation: Operation, backup_id: str
    ) -> None:
        """Read all objects of a backup, and compare them with their digests."""
        backup, manifest = await self.check(connection, backup_id)
        await self._reader.check_objects(backup, manifest, self.report(operation))

    async def name_tenant(
        self, server_id: str, database: Database, password: str, tenant_id: str
    ) -> None:
        """Name the tenant of a loaded database; `password` is that of the tenant service's role."""
        server = await self._servers.of(server_id)
        own = await server.login(database.name, database.runtime("tenant"), password)
        try:
            await identities.insert(own, tenant_id)
        finally:
            own.terminate()

    async def end_sessions(self, server_id: str, database: Database) -> None:
        """Terminate what a killed process left of a load."""
        await self._sessions.end(server_id, database)

    async def drop(self, operation: Operation) -> None:
        """Drop the database that an operation's notes name, if they do."""
        named = noted(operation)
        if named is not None:
            await self._drop(*named)

    async def _drop(self, server_id: str, database: Database) -> None:
        # Sessions of roles that are not the database's own would keep it from being dropped.
        await self.end_sessions(server_id, database)
        await self._provisioning.drop(server_id, database)


def noted(operation: Operation) -> tuple[str, Database] | None:
    """Return the server and the database that an operation's notes name."""
    notes = operation.notes
    if "database" not in notes:
        return None
    return str(notes["server_id"]), Database(str(notes["database"]), str(notes["manager"]))


def known_of_log(content: DatabaseContent) -> ChainLink:
    """Return what the audit log of a copy must have: its head, unless an anchor contradicts it.

    So a log that was written anew is not as it was written in a copy, either.
    """
    if content.audit_fault is None or content.audit_anchor is None:
        return content.audit
    return content.audit_anchor
