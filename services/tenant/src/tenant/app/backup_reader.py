"""Reads backups: signatures and digests, the return of a database and of its objects."""

from __future__ import annotations

import hashlib
from contextlib import aclosing, closing
from typing import TYPE_CHECKING

from signing import SignatureInvalid
from tenant.app.staged_files import receive
from tenant.domain.backups import (
    DUMP_FILE,
    MANIFEST_FILE,
    MANIFEST_TYPE,
    OBJECTS_FILE,
    Manifest,
    TenantObject,
    object_name,
)
from tenant.domain.migrations import MigrationTarget
from tenant.errors import MigrationChanged, MigrationsUnpublished
from tenant.errors.backups import BackupDamaged
from tenant.store import installation, published_migrations
from tenant.transfer import table_contents

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
    from pathlib import Path

    from dataplane.pools import Connection
    from signing import PublicKeys
    from tenant.backup_storage.storage import BackupStorage
    from tenant.domain.backups import Backup, Report
    from tenant.domain.databases import Database
    from tenant.domain.migrations import Migration
    from tenant.peers.objects import TenantObjects
    from tenant.transfer.backup_sessions import BackupSessions

SIGNER = "workload-tenant"
"""The id of the key that signs what this service writes."""

_MANIFEST_BYTES = 64 << 20
_OBJECTS_AT_ONCE = 1000
_BYTES_AT_ONCE = 256 << 20


class BackupReader:
    """Checks backups, and brings them back.

    Nothing of a backup is used before it is known to be what this installation has written: the
    manifest by its signature, the other files by the digests in it. Methods raise BackupDamaged and
    BackupStorageUnavailable.
    """

    def __init__(
        self,
        sessions: BackupSessions,
        storage: BackupStorage,
        objects: TenantObjects,
        keys: Callable[[], PublicKeys],
    ) -> None:
        self._sessions = sessions
        self._storage = storage
        self._objects = objects
        self._keys = keys

    async def manifest(self, connection: Connection, backup: Backup) -> Manifest:
        """Return a backup's manifest, once its signature is verified."""
        signed = bytearray()
        async with aclosing(self._storage.read(f"{backup.path}/{MANIFEST_FILE}")) as pieces:
            async for piece in pieces:
                signed += piece
                if len(signed) > _MANIFEST_BYTES:
                    raise BackupDamaged("the manifest is too large")
        try:
            document = self._keys().verify(bytes(signed), MANIFEST_TYPE, SIGNER)
            manifest = Manifest.parse(document)
        except (SignatureInvalid, ValueError) as error:
            raise BackupDamaged(f"the manifest is not valid: {error}") from None
        own = await installation.identifier(connection)
        named = (manifest.installation_id, manifest.tenant_id, manifest.backup_id)
        if named != (own, backup.tenant_id, backup.backup_id):
            raise BackupDamaged("the manifest is that of another backup")
        return manifest

    async def migrations(self, connection: Connection, manifest: Manifest) -> list[Migration]:
        """Return the published migrations that the database had, in the order of application.

        Raises MigrationsUnpublished, MigrationChanged.
        """
        had = {(file.service, file.number): file for file in manifest.content.migrations}
        found: list[Migration] = []
        for migration in await published_migrations.list_for(connection, MigrationTarget.TENANT):
            file = had.pop((migration.service, migration.number), None)
            if file is None:
                continue
            if migration.digest != file.digest:
                raise MigrationChanged(file.service, migration.target, file.number)
            found.append(migration)
        if had:
            raise MigrationsUnpublished({service for service, _ in had})
        return found

    async def load(
        self,
        backup: Backup,
        manifest: Manifest,
        server_id: str,
        database: Database,
        report: Report,
    ) -> None:
        """Load a backup into a new database that has exactly its migrations, and compare.

        The row that names the tenant is left to the caller. Raises BackupProgramFailed,
        ServerUnavailable.
        """

        async def on_table(done: int, count: int) -> None:
            await report(done, count, "tables")

        with self._storage.staging(backup.staging(f"load-{database.name}")) as staging:
            dump = staging / DUMP_FILE
            await receive(self._storage.read(f"{backup.path}/{DUMP_FILE}"), dump, manifest.dump)
            async with self._sessions.loading(server_id, database) as session:
                await session.load(dump)
                loaded = await table_contents.read(session.connection, on_table)
                differences = manifest.content.differences(loaded)
                if differences:
                    raise BackupDamaged(f"loaded, it differs: {', '.join(differences)}")

    async def put_objects(
        self, backup: Backup, manifest: Manifest, tenant_id: str, report: Report
    ) -> None:
        """Have artifacts store all objects of a backup for a tenant, each verified by its digest.

        Raises what artifacts refuses.
        """
        done = 0
        with self._storage.staging(backup.staging(f"objects-{tenant_id}")) as staging:
            listed = await self._listed(backup, manifest, staging)
            with closing(_lines(listed)) as lines:
                for batch in _batches(lines):
                    await self._objects.store(tenant_id, self._parts(backup.folder, batch))
                    done += sum(one.size_bytes for one in batch)
                    await report(done, manifest.object_bytes, "bytes")

    async def check_objects(self, backup: Backup, manifest: Manifest, report: Report) -> None:
        """Read every object of a backup, and compare it with its digest."""
        done = 0
        with self._storage.staging(backup.staging("check")) as staging:
            last = ""
            with closing(_lines(await self._listed(backup, manifest, staging))) as lines:
                for found in lines:
                    if found.digest != last:  # the list is sorted by digest
                        async with aclosing(self._object(backup.folder, found)) as pieces:
                            async for _ in pieces:
                                pass
                    last, done = found.digest, done + found.size_bytes
                    await report(done, manifest.object_bytes, "bytes")

    async def _listed(self, backup: Backup, manifest: Manifest, staging: Path) -> Path:
        """Return the verified list of a backup's objects."""
        target = staging / OBJECTS_FILE
        await receive(self._storage.read(f"{backup.path}/{OBJECTS_FILE}"), target, manifest.objects)
        return target

    async def _parts(
        self, folder: str, batch: Sequence[TenantObject]
    ) -> AsyncGenerator[TenantObject | bytes]:
        for found in batch:
            yield found
            async with aclosing(self._object(folder, found)) as pieces:
                async for piece in pieces:
                    yield piece

    async def _object(self, folder: str, found: TenantObject) -> AsyncGenerator[bytes]:
        """Yield the bytes of an object. Raises BackupDamaged at the end when they are wrong."""
        hashing = hashlib.sha256()
        async with aclosing(self._storage.read(object_name(folder, found.digest))) as pieces:
            async for piece in pieces:
                hashing.update(piece)
                yield piece
        if hashing.hexdigest() != found.digest:
            raise BackupDamaged(f"the object {found.digest} has other bytes")


def _lines(listed: Path) -> Generator[TenantObject]:
    with listed.open() as file:
        for line in file:
            yield TenantObject.parse(line)


def _batches(objects: Iterator[TenantObject]) -> Iterator[list[TenantObject]]:
    """Divide objects into what one call of artifacts stores."""
    batch: list[TenantObject] = []
    size_bytes = 0
    for one in objects:
        batch.append(one)
        size_bytes += one.size_bytes
        if len(batch) >= _OBJECTS_AT_ONCE or size_bytes >= _BYTES_AT_ONCE:
            yield batch
            batch, size_bytes = [], 0
    if batch:
        yield batch
