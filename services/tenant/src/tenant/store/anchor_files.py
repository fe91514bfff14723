"""Files of anchors outside of PostgreSQL: one for each database, which is only added to."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING

from tenant.store.audit_anchors import StoredAnchor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from auditchain.anchors import Anchor

_TAIL_BYTES = 64 << 10  # several times the longest line
_MODE = 0o600


class AnchorFiles:
    """`<folder>/<database>.jsonl`; a line that a killed process left half written is skipped.

    Raises OSError.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def append(self, anchor: Anchor, document: bytes) -> None:
        """Add an anchor, durably."""
        line = json.dumps({"sequence": anchor.sequence, "document": document.decode()}) + "\n"
        await asyncio.to_thread(self._append, anchor.database, line.encode())

    async def latest(self, database: str) -> StoredAnchor | None:
        """Return the anchor that was added last."""
        return await asyncio.to_thread(self._latest, database)

    async def read(self, database: str) -> list[StoredAnchor]:
        """Return all anchors of a database's log, in the order in which they were added."""
        return await asyncio.to_thread(lambda: list(self._read(database)))

    def _append(self, database: str, line: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._file(database)
        descriptor = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT, _MODE)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = b"\n" + line
            os.write(descriptor, line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _latest(self, database: str) -> StoredAnchor | None:
        try:
            with self._file(database).open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - _TAIL_BYTES))
                lines = file.read().splitlines()
        except FileNotFoundError:
            return None
        found = [anchor for line in lines if (anchor := _parse(line)) is not None]
        return found[-1] if found else None

    def _read(self, database: str) -> Iterator[StoredAnchor]:
        try:
            with self._file(database).open("rb") as file:
                for line in file:
                    anchor = _parse(line)
                    if anchor is not None:
                        yield anchor
        except FileNotFoundError:
            return

    def _file(self, database: str) -> Path:
        return self._folder / f"{database}.jsonl"


def _parse(line: bytes) -> StoredAnchor | None:
    try:
        content = json.loads(line)
        return StoredAnchor(int(content["sequence"]), str(content["document"]).encode())
    except (ValueError, KeyError, TypeError):
        return None
