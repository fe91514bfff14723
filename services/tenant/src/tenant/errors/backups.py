"""The errors about backups.

DomainError
├── NotFound
│   └── BackupNotFound
├── Conflict
│   ├── BackupInUse
│   ├── BackupNotComplete
│   ├── BackupProgramFailed
│   └── BackupsNotConfigured
├── Unavailable
│   ├── BackupProgramCutOff
│   └── BackupStorageUnavailable
└── DataLoss
    └── BackupDamaged
"""

from __future__ import annotations

from servicekit.errors import Conflict, DataLoss, NotFound, Unavailable


class BackupNotFound(NotFound):
    """The tenant has no backup of this id."""

    reason = "ERROR_REASON_BACKUP_NOT_FOUND"
    hint = "List the tenant's backups with ListBackups."

    def __init__(self, backup_id: str) -> None:
        super().__init__(f"the tenant has no backup {backup_id}", backup_id=backup_id)


class BackupsNotConfigured(Conflict):
    """The service has no storage for backups, or does not know who keeps the files."""

    reason = "ERROR_REASON_BACKUPS_NOT_CONFIGURED"
    hint = "Set NAGAYA_BACKUP_URL and NAGAYA_ARTIFACTS_ADDRESS of the tenant service."

    def __init__(self) -> None:
        super().__init__("this installation keeps no backups")


class BackupNotComplete(Conflict):
    """The backup is being made or deleted."""

    reason = "ERROR_REASON_BACKUP_NOT_COMPLETE"
    hint = "Wait until the operation that makes it is done, or take another backup."

    def __init__(self, backup_id: str, state: str) -> None:
        super().__init__(f"the backup {backup_id} is {state}", backup_id=backup_id, state=state)


class BackupInUse(Conflict):
    """An operation makes, restores or verifies the backup."""

    reason = "ERROR_REASON_BACKUP_IN_USE"
    hint = "Wait until the operation is done, or cancel it."

    def __init__(self, backup_id: str) -> None:
        super().__init__(f"the backup {backup_id} is in use", backup_id=backup_id)


class BackupProgramFailed(Conflict):
    """pg_dump or pg_restore cannot be started, or has failed."""

    reason = "ERROR_REASON_BACKUP_PROGRAM_FAILED"
    hint = (
        "NAGAYA_PG_BIN names the folder of PostgreSQL's programs, of the servers' version or newer."
    )

    def __init__(self, program: str, why: str) -> None:
        super().__init__(f"{program} {why}", program=program)


class BackupProgramCutOff(Unavailable):
    """pg_dump or pg_restore has lost its connection."""

    reason = "ERROR_REASON_BACKUP_PROGRAM_CUT_OFF"
    hint = "Nothing is lost; it is tried again."

    def __init__(self, program: str) -> None:
        super().__init__(f"{program} has lost its connection", program=program)


class BackupStorageUnavailable(Unavailable):
    """The storage for backups cannot be reached, or refuses."""

    reason = "ERROR_REASON_BACKUP_STORAGE_UNAVAILABLE"
    hint = "Nothing is lost; it is tried again. See NAGAYA_BACKUP_URL."

    def __init__(self, why: str) -> None:
        super().__init__(f"the storage for backups cannot be used: {why}")


class BackupDamaged(DataLoss):
    """A file of a backup is missing, or is not what was signed."""

    reason = "ERROR_REASON_BACKUP_DAMAGED"
    hint = "Nothing was changed. Restore another backup, and look after the storage."

    def __init__(self, problem: str) -> None:
        super().__init__(f"the backup cannot be used: {problem}")
