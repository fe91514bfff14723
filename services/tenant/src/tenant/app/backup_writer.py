"""Writes a backup: one snapshot of a tenant's database, and the objects that its rows name."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TextIO

from tenant.app.staged_files import StagedFile, facts
from tenant.domain.backups import (
    DUMP_FILE,
    MANIFEST_FILE,
    OBJECTS_FILE,
    OBJECTS_FOLDER,
    Manifest,
    TenantObject,
    object_name,
)
from tenant.store import installation
from tenant.threads import opened
from tenant.transfer import table_contents

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence
    from pathlib import Path

    from dataplane.pools import Connection
    from signing import DocumentSigner
    from tenant.backup_storage.storage import BackupStorage
    from tenant.domain.audit import ChainLink
    from tenant.domain.backups import Backup, DatabaseContent, Report
    from tenant.domain.tenants import Tenant
    from tenant.peers.objects import TenantObjects
    from tenant.transfer.backup_sessions import BackupSessions

_log = logging.getLogger(__name__)
_KEYS_AT_ONCE = 500
_BYTES_AT_ONCE = 256 << 20


@dataclass(frozen=True, slots=True)
class Written:
    """A backup that was written."""

    manifest: Manifest
    manifest_digest: str
    new_object_bytes: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was read of a tenant's database at one moment; the dump lies in the staging folder."""

    time: str
    server_version: str
    content: DatabaseContent
    objects: ObjectListing


@dataclass(slots=True)
class ObjectListing:
    """The objects of a snapshot; `missing` are those that the storage lacks, once each."""

    path_prefix: str = ""
    count: int = 0
    size_bytes: int = 0
    missing: list[TenantObject] = field(default_factory=list["TenantObject"])

    def add(self, found: TenantObject, stored: set[str]) -> None:
        self.count += 1
        self.size_bytes += found.size_bytes
        if found.digest not in stored:
            stored.add(found.digest)
            self.missing.append(found)


class BackupWriter:
    """Writes backups in two parts: what needs the tenant's lock, and the rest.

    First `read`: a session of the temporary login role exports a snapshot, and under it pg_dump
    writes the database, artifacts lists the objects, and the digest of every table is computed.
    Nobody has to stop writing. Then `store`: objects that no earlier backup of the tenant has are
    copied, because a committed file never changes, and the signed manifest is stored last: without
    it there is no backup.
    """

    def __init__(
        self,
        sessions: BackupSessions,
        storage: BackupStorage,
        objects: TenantObjects,
        signer: DocumentSigner,
    ) -> None:
        self._sessions = sessions
        self._storage = storage
        self._objects = objects
        self._signer = signer

    @asynccontextmanager
    async def staging(self, backup: Backup) -> AsyncGenerator[Path]:
        """Lend the folder in which a backup is made."""
        with self._storage.staging(backup.staging("create")) as staging:
            yield staging

    async def read(
        self,
        backup: Backup,
        tenant: Tenant,
        anchored: ChainLink | None,
        staging: Path,
        report: Report,
    ) -> Snapshot:
        """Read one snapshot of a tenant's database; `anchored` is its audit log's last anchor.

        Raises ServerUnavailable, BackupProgramFailed, and what artifacts raises.
        """
        stored = await self._stored_digests(backup.folder)
        async with self._sessions.dumping(tenant.server_id, tenant.database) as session:

            async def on_table(done: int, count: int) -> None:
                await report(done, count, "tables")

            listed = self._list(tenant.tenant_id, session.snapshot_id, staging, stored)
            listing = asyncio.create_task(listed)
            dumping = asyncio.create_task(session.dump(staging / DUMP_FILE))
            try:
                content = await table_contents.read(session.connection, on_table, anchored)
                await asyncio.gather(listing, dumping)
            finally:
                for task in (listing, dumping):
                    task.cancel()
                await asyncio.gather(listing, dumping, return_exceptions=True)
        _report_fault(tenant, content)
        return Snapshot(session.snapshot_time, session.server_version, content, listing.result())

    async def store(
        self,
        connection: Connection,
        backup: Backup,
        tenant: Tenant,
        snapshot: Snapshot,
        staging: Path,
        report: Report,
    ) -> Written:
        """Store what was read; `connection` is to the management database.

        Objects that an interrupted attempt has stored are not copied again. Raises
        BackupStorageUnavailable, and what artifacts raises.
        """
        found = snapshot.objects
        await self._copy_objects(backup, found.missing, staging, report)
        manifest = Manifest(
            backup_id=backup.backup_id,
            tenant_id=tenant.tenant_id,
            tenant_name=tenant.name,
            installation_id=await installation.identifier(connection),
            path_prefix=found.path_prefix,
            snapshot_time=snapshot.time,
            server_version=snapshot.server_version,
            content=snapshot.content,
            dump=await facts(staging / DUMP_FILE),
            objects=await facts(staging / OBJECTS_FILE),
            object_count=found.count,
            object_bytes=found.size_bytes,
        )
        signed = staging / MANIFEST_FILE
        await asyncio.to_thread(signed.write_bytes, self._signer.sign(manifest.document()))
        digest = (await facts(signed)).digest
        for name in (DUMP_FILE, OBJECTS_FILE, MANIFEST_FILE):
            await self._storage.put(staging / name, f"{backup.path}/{name}")
        return Written(manifest, digest, sum(one.size_bytes for one in found.missing))

    async def _list(
        self, tenant_id: str, snapshot_id: str, staging: Path, stored: set[str]
    ) -> ObjectListing:
        """Write the list of the objects that a snapshot sees."""
        listing = ObjectListing()
        objects = self._objects.objects(tenant_id, snapshot_id)
        with await opened(partial((staging / OBJECTS_FILE).open, "w"), TextIO.close) as file:
            async with aclosing(objects):
                async for found in objects:
                    if isinstance(found, str):
                        listing.path_prefix = found
                    else:
                        file.write(found.line())
                        listing.add(found, stored)
        return listing

    async def _copy_objects(
        self, backup: Backup, missing: Sequence[TenantObject], staging: Path, report: Report
    ) -> None:
        """Store objects that the storage lacks."""
        total, done = sum(one.size_bytes for one in missing), 0
        for batch in _batches(missing):
            async with aclosing(self._fetch(backup.tenant_id, batch, staging)) as files:
                async for file in files:
                    name = object_name(backup.folder, file.announced.digest)
                    await self._storage.put(file.path, name)
                    done += file.announced.size_bytes
                    await report(done, total, "bytes")

    async def _fetch(
        self, tenant_id: str, batch: Sequence[TenantObject], staging: Path
    ) -> AsyncGenerator[StagedFile]:
        """Yield objects as files, each when it is whole and agrees with its digest."""
        file: StagedFile | None = None
        parts = self._objects.bodies(tenant_id, [one.key for one in batch])
        try:
            async with aclosing(parts):
                async for part in parts:
                    if isinstance(part, bytes):
                        if file is not None:
                            await file.write(part)
                        continue
                    if file is not None:
                        yield file.verified()
                    file = StagedFile(staging, part)
            if file is not None:
                yield file.verified()
        finally:
            if file is not None:
                file.close()

    async def _stored_digests(self, folder: str) -> set[str]:
        async with aclosing(self._storage.names(f"{folder}/{OBJECTS_FOLDER}/")) as names:
            return {name.rpartition("/")[2] async for name in names}


def _report_fault(tenant: Tenant, content: DatabaseContent) -> None:
    """Log that an audit log is not whole: the backup has it as it is, and says so."""
    if content.audit_fault is not None:
        _log.error(
            "a backup has an audit log that is not as it was written",
            extra={
                "event": "backup.audit_log_altered",
                "tenant_id": tenant.tenant_id,
                "sequence": content.audit_fault,
            },
        )


def _batches(objects: Sequence[TenantObject]) -> Iterator[Sequence[TenantObject]]:
    """Divide objects so that a batch takes little time and space."""
    batch: list[TenantObject] = []
    size_bytes = 0
    for one in objects:
        batch.append(one)
        size_bytes += one.size_bytes
        if len(batch) >= _KEYS_AT_ONCE or size_bytes >= _BYTES_AT_ONCE:
            yield batch
            batch, size_bytes = [], 0
    if batch:
        yield batch
