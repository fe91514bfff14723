"""Backups of tenants: their manifests, schedules and retention."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

from tenant.domain.audit import ChainLink

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import datetime, timedelta

    from tenant.domain.tenants import Tenant

Report: TypeAlias = "Callable[[int, int, str], Awaitable[None]]"
"""Is told how much is done, of how much, and in what unit."""

MANIFEST_TYPE = "backup-manifest"
MANIFEST_VERSION = 1
MANIFEST_FILE = "manifest.json"
DUMP_FILE = "database.dump"
OBJECTS_FILE = "objects.txt"
OBJECTS_FOLDER = "objects"


class BackupState(StrEnum):
    """The column `backups.state`."""

    CREATING = "creating"
    COMPLETE = "complete"
    DELETING = "deleting"


class BackupKind(StrEnum):
    """Who has a backup made: the column `backups.kind`."""

    MANUAL = "manual"
    SCHEDULED = "scheduled"
    CLONE = "clone"
    """Kept only until another tenant was made of it."""


class VerificationState(StrEnum):
    """The column `backups.verification`."""

    NEVER = "never"
    PASSED = "passed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Backup:
    """A row of the table `backups`."""

    backup_id: str
    tenant_id: str
    folder: str
    """Where its tenant's backups lie in the storage."""
    state: BackupState
    kind: BackupKind
    create_time: datetime
    snapshot_time: datetime | None
    expire_time: datetime | None
    row_count: int
    dump_bytes: int
    object_count: int
    object_bytes: int
    new_object_bytes: int
    """How much of `object_bytes` no earlier backup of the tenant had."""
    manifest_digest: str
    verification: VerificationState
    verify_time: datetime | None
    verification_problem: str

    @property
    def path(self) -> str:
        """The folder of its own files in the storage."""
        return f"{self.folder}/backups/{self.backup_id}"

    def staging(self, use: str = "") -> str:
        """Return the name of the folder in which files of it are staged for a use.

        Those of all uses begin with that of none, those of all backups of a folder with its name.
        """
        return f"{self.folder}.{self.backup_id}.{use}"


@dataclass(frozen=True, slots=True)
class TenantObject:
    """An object of a tenant: its key without bucket and tenant, its sha256 and its size."""

    key: str
    digest: str
    size_bytes: int

    def line(self) -> str:
        """Return the object's line in `objects.txt`."""
        return f"{self.digest} {self.size_bytes} {self.key}\n"

    @classmethod
    def parse(cls, line: str) -> TenantObject:
        """Read a line of `objects.txt`. Raises ValueError."""
        digest, size_bytes, key = line.removesuffix("\n").split(" ", 2)
        return cls(key, digest, int(size_bytes))


def folder_of(tenant: Tenant) -> str:
    """Return where the backups of a tenant lie in the storage.

    Another tenant that gets the same id later has another folder.
    """
    return f"{tenant.tenant_id}-{tenant.create_time:%Y%m%d%H%M%S}"


def object_name(folder: str, digest: str) -> str:
    """Return where an object lies in the storage, once for all backups of a tenant."""
    return f"{folder}/{OBJECTS_FOLDER}/{digest[:2]}/{digest}"


@dataclass(frozen=True, slots=True)
class MigrationFile:
    """A migration that a database has."""

    service: str
    number: int
    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class TableContent:
    """The rows of a table: how many, and the sha256 of them in the order of their key."""

    name: str
    rows: int
    digest: str


@dataclass(frozen=True, slots=True)
class SequenceState:
    """The state of a sequence."""

    name: str
    last_value: int
    is_called: bool


@dataclass(frozen=True, slots=True)
class StoredFile:
    """The size and the sha256 of a file."""

    size_bytes: int
    digest: str


@dataclass(frozen=True, slots=True)
class DatabaseContent:
    """What a snapshot of a tenant's database holds."""

    migrations: tuple[MigrationFile, ...]
    tables: tuple[TableContent, ...]
    sequences: tuple[SequenceState, ...]
    audit: ChainLink
    """The head of the audit log's chain."""
    audit_fault: int | None = None
    """The first entry that is not as it was written; None when the log is whole."""
    audit_anchor: ChainLink | None = None
    """The last entry that was anchored outside of the database."""

    def differences(self, other: DatabaseContent) -> list[str]:
        """Say in what the content of another database differs; sequences may be ahead there."""
        mine, theirs = ({one.name: one for one in found.tables} for found in (self, other))
        found = [
            f"table {name}"
            for name in sorted(mine.keys() | theirs.keys())
            if mine.get(name) != theirs.get(name)
        ]
        states = {sequence.name: sequence for sequence in other.sequences}
        for sequence in self.sequences:
            state = states.get(sequence.name)
            if state is None or _next(state) < _next(sequence):
                found.append(f"sequence {sequence.name}")
        if self.audit != other.audit:
            found.append("head of the audit log")
        # One that only its anchor told of is not seen in a copy, which no anchor is about.
        if other.audit_fault not in (None, self.audit_fault):
            found.append("chain of the audit log")
        if self.migrations != other.migrations:
            found.append("migrations")
        return found


def _next(sequence: SequenceState) -> int:
    return sequence.last_value + sequence.is_called


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup consists of; signed, it is the backup's root of trust."""

    backup_id: str
    tenant_id: str
    tenant_name: str
    installation_id: str
    path_prefix: str
    """What the paths of the tenant's files begin with in its rows: bucket and tenant."""
    snapshot_time: str
    server_version: str
    content: DatabaseContent
    dump: StoredFile
    objects: StoredFile
    """The list of objects."""
    object_count: int
    object_bytes: int

    def document(self) -> dict[str, Any]:
        """Return the manifest as a JSON object, without floating-point numbers."""
        document: dict[str, Any] = asdict(self)
        content = document.pop("content")
        files = {DUMP_FILE: document.pop("dump"), OBJECTS_FILE: document.pop("objects")}
        return {"type": MANIFEST_TYPE, "version": MANIFEST_VERSION, **document, **content,
                "files": files}  # fmt: skip

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Manifest:
        """Read what `document` has returned. Raises ValueError."""
        if document.get("version") != MANIFEST_VERSION:
            raise ValueError(f"its version is {document.get('version')}, not {MANIFEST_VERSION}")
        try:
            anchor = document.get("audit_anchor")
            content = DatabaseContent(
                migrations=tuple(MigrationFile(**one) for one in document["migrations"]),
                tables=tuple(TableContent(**one) for one in document["tables"]),
                sequences=tuple(SequenceState(**one) for one in document["sequences"]),
                audit=ChainLink(**document["audit"]),
                audit_fault=document.get("audit_fault"),
                audit_anchor=None if anchor is None else ChainLink(**anchor),
            )
            return cls(
                backup_id=document["backup_id"],
                tenant_id=document["tenant_id"],
                tenant_name=document["tenant_name"],
                installation_id=document["installation_id"],
                path_prefix=document["path_prefix"],
                snapshot_time=document["snapshot_time"],
                server_version=document["server_version"],
                content=content,
                dump=StoredFile(**document["files"][DUMP_FILE]),
                objects=StoredFile(**document["files"][OBJECTS_FILE]),
                object_count=document["object_count"],
                object_bytes=document["object_bytes"],
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"it lacks a field: {error}") from None


@dataclass(frozen=True, slots=True)
class PurgedBackups:
    """What the purge of a tenant's backups has found."""

    backup_count: int
    files_before: int
    files_after: int
    folders: tuple[str, ...]
    """Those that were looked at, below the storage's root."""
    staged_before: int
    """Files that killed processes had staged."""
    staged_after: int
    staging_unproven: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NewTenant:
    """A tenant that is to be made of existing data."""

    tenant_id: str
    name: str
    """Empty for that of the tenant whose data it is."""
    server_id: str
    """Empty for the server that a creation would take."""


@dataclass(frozen=True, slots=True)
class BackupSchedule:
    """A row of the table `backup_schedules`."""

    tenant_id: str
    interval: timedelta
    keep_count: int
    """The newest backups of the schedule that are kept whatever their age."""
    keep_for: timedelta
    """How long the others are kept."""
    verify: bool
    """Whether each new backup is verified."""
    user_id: str
    """Who set it."""
    next_time: datetime
    last_operation_id: str
