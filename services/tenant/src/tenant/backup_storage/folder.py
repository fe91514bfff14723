"""Backups in a folder of a file system."""

from __future__ import annotations

import asyncio
import contextlib
import os
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from tenant.backup_storage import staging
from tenant.backup_storage.storage import PIECE_BYTES
from tenant.errors.backups import BackupDamaged, BackupStorageUnavailable
from tenant.threads import completed, opened

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Generator
    from pathlib import Path

_STAGING = ".staging"


class FolderStorage:
    """A BackupStorage over plain files, which only the service's user can read.

    Processes of other machines may use the folder, whose locks are theirs: what a killed process
    has staged goes by its name only, with `staging` or `remove_staged`.
    """

    staging_unproven = ()

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextmanager
    def staging(self, name: str) -> Generator[Path]:
        """Lend a folder on the same file system."""
        with contextlib.ExitStack() as stack:
            with _translated():
                folder = stack.enter_context(staging.lent(self._root / _STAGING / name))
            yield folder

    async def remove_staged(self, prefix: str) -> tuple[int, int]:
        """Remove what killed processes have staged."""
        with _translated():
            return await asyncio.to_thread(staging.remove, self._root / _STAGING, prefix)

    async def put(self, source: Path, name: str) -> None:
        """Move a file to its place, once its bytes are on disk.

        Cancelled it still waits for that: nothing may come to be there later.
        """
        await completed(partial(self._put, source, name))

    async def read(self, name: str) -> AsyncGenerator[bytes]:
        """Yield a file's bytes. Raises BackupDamaged when it is missing."""
        try:
            file = await opened(partial((self._root / name).open, "rb"), BinaryIO.close)
        except FileNotFoundError:
            raise BackupDamaged(f"the file {name} is missing") from None
        except OSError as error:
            raise _unavailable(error) from error
        with file, _translated():
            while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
                yield piece

    async def names(self, prefix: str) -> AsyncGenerator[str]:
        """Yield the names below a folder."""
        with _translated():
            for folder in await asyncio.to_thread(self._folders, self._root / prefix):
                for path in await asyncio.to_thread(_files, folder):
                    yield path.relative_to(self._root).as_posix()

    async def delete(self, names: Collection[str]) -> None:
        """Remove files, and folders that are empty then."""
        await asyncio.to_thread(self._delete, names)

    def _put(self, source: Path, name: str) -> None:
        target = self._root / name
        with _translated():
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with source.open("rb") as file:
                os.fsync(file.fileno())
            source.chmod(0o600)
            source.replace(target)
            _sync(target.parent)

    def _folders(self, folder: Path) -> list[Path]:
        if not folder.is_dir():
            return []
        return [folder, *sorted(path for path in folder.rglob("*") if path.is_dir())]

    def _delete(self, names: Collection[str]) -> None:
        with _translated():
            for name in names:
                (self._root / name).unlink(missing_ok=True)
            for folder in {(self._root / name).parent for name in names}:
                self._remove_empty(folder)

    def _remove_empty(self, folder: Path) -> None:
        with contextlib.suppress(OSError):  # not empty, or gone
            while folder != self._root:
                folder.rmdir()
                folder = folder.parent


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_file())
    except FileNotFoundError:
        return []


def _sync(folder: Path) -> None:
    """Make a new name in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _translated() -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise _unavailable(error) from error


def _unavailable(error: OSError) -> BackupStorageUnavailable:
    return BackupStorageUnavailable(error.strerror or type(error).__name__)
