"""The interface of the place where backups are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

PIECE_BYTES = 1 << 20


class BackupStorage(Protocol):
    """Files by name, such as `acme/objects/ab/abcd…`; a name's parts are folders.

    A file is there whole or not at all. Methods raise BackupStorageUnavailable.
    """

    @property
    def staging_unproven(self) -> Sequence[str]:
        """What removing the staged files does not prove, as sentences."""
        ...

    def staging(self, name: str) -> AbstractContextManager[Path]:
        """Lend an empty folder for files that are to be stored; it is removed afterwards.

        One of the same name that a killed process left is removed before.
        """
        ...

    async def remove_staged(self, prefix: str) -> tuple[int, int]:
        """Remove the folders, of names with a prefix, that killed processes have left.

        Returns how many files there were, and how many are left.
        """
        ...

    async def put(self, source: Path, name: str) -> None:
        """Store a file of the staging folder, which is gone from there afterwards."""
        ...

    def read(self, name: str) -> AsyncGenerator[bytes]:
        """Yield a file in pieces of at most 1 MiB. Raises BackupDamaged when it is missing."""
        ...

    def names(self, prefix: str) -> AsyncGenerator[str]:
        """Yield the names of the files below a folder, `prefix` ending with `/`."""
        ...

    async def delete(self, names: Collection[str]) -> None:
        """Delete files; those that are gone already are none of its business."""
        ...
