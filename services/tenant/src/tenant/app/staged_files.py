"""Files of the staging folder, with their digests."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from tenant.domain.backups import StoredFile
from tenant.errors.backups import BackupDamaged
from tenant.threads import opened

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from tenant.domain.backups import TenantObject


class StagedFile:
    """A file that arrives in pieces, and must then be what was announced."""

    def __init__(self, folder: Path, announced: TenantObject) -> None:
        self.announced = announced
        self.path = folder / announced.digest
        self._file = self.path.open("wb")
        self._hash = hashlib.sha256()

    async def write(self, piece: bytes) -> None:
        """Append a piece."""
        await asyncio.to_thread(self._write, piece)

    def close(self) -> None:
        """Close the file, if it is open."""
        self._file.close()

    def verified(self) -> StagedFile:
        """Return the file, closed. Raises BackupDamaged when it is not what was announced."""
        self.close()
        if self._hash.hexdigest() != self.announced.digest:
            raise BackupDamaged(f"the object {self.announced.key} has another sha256")
        return self

    def _write(self, piece: bytes) -> None:
        self._file.write(piece)
        self._hash.update(piece)


async def facts(path: Path) -> StoredFile:
    """Return the size and the sha256 of a file."""
    return await asyncio.to_thread(_facts, path)


async def receive(pieces: AsyncGenerator[bytes], target: Path, expected: StoredFile) -> None:
    """Write a stored file to `target`. Raises BackupDamaged when it is not the expected one."""
    async with aclosing(pieces):
        with await opened(partial(target.open, "wb"), BinaryIO.close) as file:
            async for piece in pieces:
                await asyncio.to_thread(file.write, piece)
    if await facts(target) != expected:
        raise BackupDamaged(f"the file {target.name} is not the one that the manifest names")


def _facts(path: Path) -> StoredFile:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return StoredFile(path.stat().st_size, digest)
