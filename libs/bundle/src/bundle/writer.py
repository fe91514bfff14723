"""Writing a bundle: a directory, file by file; the manifest and its signature come last."""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bundle import names
from bundle.manifest import Objects

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from bundle.index import ObjectEntry


class FileWriter:
    """Writes one file, and counts and hashes what it writes; the file is there once it is closed.

    What a process that died has left of it is written over.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._draft = path.with_name(path.name + ".part")
        self._file = self._draft.open("wb")
        self._sha256 = hashlib.sha256()
        self.size_bytes = 0
        self.lines = 0

    @property
    def digest(self) -> str:
        """The sha256 of what has been written."""
        return self._sha256.hexdigest()

    def write(self, data: bytes) -> None:
        """Append. Raises OSError."""
        self._file.write(data)
        self._sha256.update(data)
        self.size_bytes += len(data)
        self.lines += data.count(b"\n")

    def close(self) -> None:
        """Make the file durable, under its name. Raises OSError."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._draft.replace(self._path)

    def discard(self) -> None:
        """Leave nothing of it."""
        self._file.close()
        self._draft.unlink(missing_ok=True)


@contextmanager
def discarded_on_failure(file: FileWriter | IndexWriter) -> Generator[None]:
    """Leave nothing of a file if the block, which closes it, fails or is cancelled."""
    try:
        yield
    except BaseException:
        file.discard()
        raise


class BundleWriter:
    """Writes the files of a bundle into a directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def table(self, name: str) -> FileWriter:
        """Begin the file of a table."""
        return FileWriter(self.folder / names.table_file(name))

    def object(self, digest: str) -> FileWriter | None:
        """Begin the file of an object; None when it is there already."""
        path = self.folder / names.object_file(digest)
        return None if path.exists() else FileWriter(path)

    def index(self) -> IndexWriter:
        """Begin the list of objects."""
        return IndexWriter(FileWriter(self.folder / names.INDEX))

    def finish(self, manifest: bytes, signature: bytes) -> None:
        """Write the manifest and its signature: the bundle is complete."""
        for name, content in ((names.SIGNATURE, signature), (names.MANIFEST, manifest)):
            file = FileWriter(self.folder / name)
            with discarded_on_failure(file):
                file.write(content)
                file.close()


class IndexWriter:
    """Writes the list of objects, which come ordered by digest and then by key."""

    def __init__(self, file: FileWriter) -> None:
        self._file = file
        self._before = ("", "")
        self._size = 0

    def add(self, entry: ObjectEntry) -> bool:
        """Append an object; return whether its bytes are the first of their digest.

        Raises ValueError if it is out of order.
        """
        if (entry.digest, entry.key) <= self._before:
            raise ValueError(f"the object {entry.key} is out of order")
        first = entry.digest != self._before[0]
        self._before = (entry.digest, entry.key)
        self._size += entry.size_bytes if first else 0
        self._file.write(entry.line())
        return first

    def discard(self) -> None:
        """Leave nothing of it."""
        self._file.discard()

    def close(self) -> Objects:
        """Make the list durable; return what the manifest says of it."""
        self._file.close()
        file = self._file
        return Objects(file.lines, self._size, file.size_bytes, file.digest)
