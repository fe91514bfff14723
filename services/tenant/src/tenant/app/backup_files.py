"""Deletes the files of backups."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from tenant.domain.backups import OBJECTS_FILE, OBJECTS_FOLDER, BackupState, TenantObject
from tenant.errors.backups import BackupDamaged
from tenant.store import backups

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Sequence

    from dataplane.pools import Connection
    from tenant.backup_storage.storage import BackupStorage
    from tenant.domain.backups import Backup

_NAMES_AT_ONCE = 1000


class BackupFiles:
    """Deletes what no backup needs; the lock of the tenant's backups is held meanwhile.

    Methods raise BackupStorageUnavailable.
    """

    def __init__(self, storage: BackupStorage) -> None:
        self._storage = storage

    async def delete(self, connection: Connection, backup: Backup) -> None:
        """Delete a backup's files, then its row.

        Of its objects those are deleted that no other backup in the folder has.
        """
        await self._delete_all(self._storage.names(f"{backup.path}/"))
        others = [
            other
            for other in await backups.of_folder(connection, backup.folder)
            if other.backup_id != backup.backup_id and other.state is BackupState.COMPLETE
        ]
        kept: set[str] = set()
        for other in others:
            async with aclosing(self._digests(other)) as digests:
                async for digest in digests:
                    kept.add(digest)
        await self._delete_all(self._unneeded(backup.folder, kept))
        await self._storage.remove_staged(backup.staging())
        await backups.delete(connection, backup.backup_id)

    @property
    def staging_unproven(self) -> Sequence[str]:
        """What `delete_staged` does not prove, as sentences."""
        return self._storage.staging_unproven

    async def delete_staged(self, folders: Collection[str]) -> tuple[int, int]:
        """Delete what killed processes have staged for tenants' folders.

        Returns how many files there were, and how many are left.
        """
        counts = [await self._storage.remove_staged(f"{folder}.") for folder in folders]
        return sum(found for found, _ in counts), sum(left for _, left in counts)

    async def delete_folders(self, folders: Collection[str]) -> int:
        """Delete all files of tenants' folders; return how many there were."""
        found = await self.count(folders)
        for folder in folders:
            await self._delete_all(self._storage.names(f"{folder}/"))
        return found

    async def count(self, folders: Collection[str]) -> int:
        """Return how many files there are in tenants' folders."""
        found = 0
        for folder in folders:
            async with aclosing(self._storage.names(f"{folder}/")) as names:
                async for _ in names:
                    found += 1
        return found

    async def _unneeded(self, folder: str, kept: set[str]) -> AsyncGenerator[str]:
        async with aclosing(self._storage.names(f"{folder}/{OBJECTS_FOLDER}/")) as names:
            async for name in names:
                if name.rpartition("/")[2] not in kept:
                    yield name

    async def _delete_all(self, names: AsyncGenerator[str]) -> None:
        async with aclosing(names):
            batch = [name async for name in names]
        for start in range(0, len(batch), _NAMES_AT_ONCE):
            await self._storage.delete(batch[start : start + _NAMES_AT_ONCE])

    async def _digests(self, backup: Backup) -> AsyncGenerator[str]:
        """Yield the digests of a backup's objects.

        Raises BackupDamaged when its list is missing: then nothing may be deleted.
        """
        rest = b""
        async with aclosing(self._storage.read(f"{backup.path}/{OBJECTS_FILE}")) as pieces:
            async for piece in pieces:
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    yield _parsed(line).digest


def _parsed(line: bytes) -> TenantObject:
    try:
        return TenantObject.parse(line.decode())
    except ValueError:
        raise BackupDamaged("the list of its objects is malformed") from None
