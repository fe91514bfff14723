"""The operation that verifies a backup: it is restored to the side, and compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataplane import audit
from tenant.app.backup_loading import noted
from tenant.domain.operations import OperationKind
from tenant.domain.servers import MAIN
from tenant.errors import MigrationChanged, MigrationFailed, MigrationsUnpublished
from tenant.errors.backups import BackupDamaged, BackupProgramFailed
from tenant.operations.saga import Saga, Step
from tenant.provisioning import new_logins
from tenant.store import backups, tenants

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from dataplane.pools import Connection
    from tenant.app.backup_loading import BackupLoading
    from tenant.domain.operations import Operation

_PROBLEMS = (
    BackupDamaged,
    BackupProgramFailed,
    MigrationChanged,
    MigrationFailed,
    MigrationsUnpublished,
)


class BackupVerification:
    """Verifies backups. Nothing of the scratch database is left, whatever the outcome is."""

    def __init__(self, loading: BackupLoading) -> None:
        self._loading = loading

    def saga(self) -> Saga:
        """Return what the operation does, under a lock of the backup's own."""
        return Saga(
            kind=OperationKind.VERIFY_BACKUP,
            steps=(
                Step("check", self._check),
                Step("restore", self._restore),
                Step("objects", self._objects),
                Step("record", self._record),
            ),
            undo=self._undo,
            undo_on_failure=True,
            lock=lambda operation: f"backup/{operation.arguments['backup_id']}",
        )

    async def _check(self, connection: Connection, operation: Operation) -> dict[str, object]:
        await self._recording(
            connection, operation, self._loading.check(connection, _backup_id(operation))
        )
        tenant = await tenants.find(connection, operation.tenant_id)
        server_id = tenant.server_id if tenant is not None else MAIN
        return self._loading.new_database(server_id)

    async def _restore(self, connection: Connection, operation: Operation) -> None:
        """Load the backup into a scratch database, and drop that."""
        named = noted(operation)
        if named is None:
            raise LookupError("the step before has named no database")
        loading = self._loading.load(
            connection, operation, _backup_id(operation), *named, new_logins()
        )
        try:
            await self._recording(connection, operation, loading)
        finally:
            await self._loading.drop(operation)

    async def _objects(self, connection: Connection, operation: Operation) -> None:
        checking = self._loading.check_objects(connection, operation, _backup_id(operation))
        await self._recording(connection, operation, checking)

    async def _record(self, connection: Connection, operation: Operation) -> None:
        await _record(connection, operation, "")

    async def _undo(self, _: Connection, operation: Operation) -> None:
        await self._loading.drop(operation)

    async def _recording(
        self, connection: Connection, operation: Operation, work: Awaitable[object]
    ) -> None:
        """Await a part of the verification; record what it finds wrong."""
        try:
            await work
        except _PROBLEMS as error:
            await _record(connection, operation, error.message)
            raise


async def _record(connection: Connection, operation: Operation, problem: str) -> None:
    backup_id = _backup_id(operation)
    async with connection.transaction():
        await backups.record_verification(connection, backup_id, problem)
        details = {"tenant_id": operation.tenant_id, "passed": not problem}
        await audit.append(connection, "backup.verify", "backup", backup_id, details)


def _backup_id(operation: Operation) -> str:
    return str(operation.arguments["backup_id"])
