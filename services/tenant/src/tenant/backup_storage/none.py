"""The storage of an installation that keeps no backups."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tenant.errors.backups import BackupsNotConfigured

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Generator
    from pathlib import Path


class NoStorage:
    """A BackupStorage that refuses to store, and in which nothing is found.

    Methods raise BackupsNotConfigured, but for `names` and the removals of staged files.
    """

    staging_unproven = ()

    @contextmanager
    def staging(self, name: str) -> Generator[Path]:
        raise BackupsNotConfigured
        yield

    async def remove_staged(self, prefix: str) -> tuple[int, int]:
        return 0, 0

    async def put(self, source: Path, name: str) -> None:
        raise BackupsNotConfigured

    async def read(self, name: str) -> AsyncGenerator[bytes]:
        raise BackupsNotConfigured
        yield b""

    async def names(self, prefix: str) -> AsyncGenerator[str]:
        return
        yield ""

    async def delete(self, names: Collection[str]) -> None:
        if names:
            raise BackupsNotConfigured
