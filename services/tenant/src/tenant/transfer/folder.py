"""The folder of bundles: exports that wait to be fetched, uploads that wait to be imported."""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING

from bundle import names
from tenant.errors.transfers import (
    BundleNotFound,
    BundleTooLarge,
    TransfersNotConfigured,
    UploadInvalid,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

_ROOM_LEFT = 1 << 30


class TransferFolder:
    """Bundles by id: `exports/{tenant_id}/{bundle_id}/` and `uploads/{bundle_id}.tar`.

    Processes of the service that share the work of transfers share the folder too. Without one,
    because it is not set, every method raises TransfersNotConfigured. All raise OSError.
    """

    def __init__(self, root: Path | None, hours: float) -> None:
        self._root = root
        self._seconds = hours * 3600.0

    @property
    def configured(self) -> bool:
        """Whether there is a folder."""
        return self._root is not None

    def check(self) -> None:
        """Raise TransfersNotConfigured if there is no folder."""
        self._within()

    def new_export(self, tenant_id: str, bundle_id: str) -> Path:
        """Return an empty directory for an export; what an attempt before has left is removed."""
        path = self._export(tenant_id, bundle_id)
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True, mode=0o700)
        return path

    def export(self, tenant_id: str, bundle_id: str) -> Path:
        """Return the directory of a complete export. Raises BundleNotFound."""
        path = self._export(tenant_id, bundle_id)
        if not (path / names.MANIFEST).is_file():
            raise BundleNotFound(bundle_id)
        return path

    def remove_export(self, tenant_id: str, bundle_id: str) -> None:
        """Remove an export, if it is there."""
        shutil.rmtree(self._export(tenant_id, bundle_id), ignore_errors=True)

    def upload(self, bundle_id: str) -> Path:
        """Return the tar of a complete upload. Raises BundleNotFound."""
        path = self._upload(bundle_id)
        if not path.is_file():
            raise BundleNotFound(bundle_id)
        return path

    def received(self, bundle_id: str) -> tuple[int, bool]:
        """Return how many bytes of an upload have come, and whether these are all."""
        path = self._upload(bundle_id)
        if path.is_file():
            return path.stat().st_size, True
        part = _part(path)
        return (part.stat().st_size if part.is_file() else 0), False

    def receive(self, bundle_id: str, size: int, offset: int) -> UploadWriter:
        """Begin, or go on, to write an upload.

        Raises BundleTooLarge where there is no room for it, and UploadInvalid where bytes before
        `offset` are missing.
        """
        path = self._upload(bundle_id)
        path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
        if size - offset + _ROOM_LEFT > shutil.disk_usage(path.parent).free:
            raise BundleTooLarge(size)
        known, _ = self.received(bundle_id)
        if offset > min(known, size):
            raise UploadInvalid(f"it goes on at byte {offset}, but {known} bytes have come")
        if path.is_file():
            path.replace(_part(path))
        return UploadWriter(path, size, offset)

    def remove_upload(self, bundle_id: str) -> None:
        """Remove an upload, if it is there."""
        path = self._upload(bundle_id)
        path.unlink(missing_ok=True)
        _part(path).unlink(missing_ok=True)

    def remove_exports(self, tenant_id: str) -> tuple[int, int]:
        """Remove a tenant's exports; return how many files were there, and how many are left."""
        path = self._within("exports", tenant_id)
        found = _count(path)
        shutil.rmtree(path, ignore_errors=True)
        return found, _count(path)

    def remove_old(self) -> int:
        """Remove what has been there for longer than bundles are kept; return how many."""
        limit, removed = time.time() - self._seconds, 0
        for path in self._all():
            if path.stat().st_mtime < limit:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
                removed += 1
        return removed

    def _all(self) -> Iterator[Path]:
        root = self._within()
        for tenant in sorted((root / "exports").glob("*")):
            yield from sorted(tenant.iterdir())
        yield from sorted((root / "uploads").glob("*"))

    def _export(self, tenant_id: str, bundle_id: str) -> Path:
        return self._within("exports", tenant_id, bundle_id)

    def _upload(self, bundle_id: str) -> Path:
        return self._within("uploads", f"{bundle_id}.tar")

    def _within(self, *parts: str) -> Path:
        if self._root is None:
            raise TransfersNotConfigured("NAGAYA_TRANSFER_FOLDER is not set")
        return self._root.joinpath(*parts)


class UploadWriter:
    """Writes the tar of an upload; it has its name once all is there."""

    def __init__(self, path: Path, size: int, offset: int) -> None:
        self._path = path
        self._size = size
        self.received = offset
        part = _part(path)
        self._file: BinaryIO = part.open("r+b" if part.is_file() else "wb")
        try:
            self._file.truncate(offset)
            self._file.seek(offset)
        except BaseException:
            self._file.close()
            raise

    def write(self, data: bytes) -> None:
        """Append. Raises UploadInvalid if that is more than was announced."""
        if self.received + len(data) > self._size:
            raise UploadInvalid(f"more than the {self._size} bytes come that were announced")
        self._file.write(data)
        self.received += len(data)

    def close(self) -> bool:
        """Keep what has come; return whether it is all."""
        with self._file:
            self._file.flush()
            os.fsync(self._file.fileno())
        if self.received < self._size:
            return False
        _part(self._path).replace(self._path)
        return True


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _count(path: Path) -> int:
    return sum(1 for found in path.rglob("*") if not found.is_dir())
