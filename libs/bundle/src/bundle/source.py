"""Where a bundle is read from: a tar, or a directory with the same files."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Protocol

from bundle import tar
from bundle.errors import BundleInvalid, Fault
from bundle.names import is_known

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

CHUNK_BYTES = 1 << 20


class Entry:
    """A file of a bundle, read once from its beginning to its end."""

    def __init__(self, name: str, size: int, file: BinaryIO) -> None:
        self.name = name
        self.size = size
        self._file = file
        self._left = size
        self._start = file.tell()

    def rewind(self) -> None:
        """Go back to its beginning."""
        self._file.seek(self._start)
        self._left = self.size

    def read(self, most: int = CHUNK_BYTES) -> bytes:
        """Return the next bytes; nothing at the end. Raises BundleInvalid if it ends early."""
        if not self._left:
            return b""
        data = self._file.read(min(most, self._left))
        if not data:
            raise BundleInvalid(Fault.MISSING, self.name, "it ends before its size")
        self._left -= len(data)
        return data

    def readline(self, most: int, /) -> bytes:
        """Return the next line, or as much of it; nothing at the end."""
        data = self._file.readline(min(most, self._left)) if self._left else b""
        self._left -= len(data)
        return data

    def skip(self) -> None:
        """Go to its end."""
        self._file.seek(self._left, os.SEEK_CUR)
        self._left = 0


class Reading(Protocol):
    """Reads the files of a bundle once, in their order."""

    def next(self, name: str) -> Entry:
        """Return the next file, which must have this name. Raises BundleInvalid."""
        ...

    def finish(self, count: int) -> None:
        """Check that nothing follows the `count` files that were read. Raises BundleInvalid."""
        ...


class Source(Protocol):
    """A bundle that can be read, as often as needed."""

    def reading(self) -> AbstractContextManager[Reading]:
        """Begin at the first file."""
        ...


class TarSource:
    """A bundle in a tar."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def reading(self) -> Generator[Reading]:
        """Begin at the first file. Raises OSError."""
        with self._path.open("rb") as file:
            yield _TarReading(file)


class DirectorySource:
    """A bundle in a directory."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def reading(self) -> Generator[Reading]:
        """Begin at the first file. Raises OSError."""
        reading = _DirectoryReading(self._path)
        try:
            yield reading
        finally:
            reading.close()


def source(path: Path) -> TarSource | DirectorySource:
    """Return the bundle at a path."""
    return DirectorySource(path) if path.is_dir() else TarSource(path)


class _TarReading:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._entry: Entry | None = None

    def next(self, name: str) -> Entry:
        self._leave()
        found = tar.parse_header(self._file.read(tar.BLOCK))
        if found is None:
            raise BundleInvalid(Fault.MISSING, name, "it is not in the tar")
        if found[0] != name:
            fault = Fault.EXTRA if is_known(found[0]) else Fault.NAME
            raise BundleInvalid(fault, found[0], f"{name} should be in its place")
        self._entry = Entry(*found, self._file)
        return self._entry

    def finish(self, count: int) -> None:
        self._leave()
        rest = self._file.read(len(tar.END) + 1)
        if rest != tar.END:
            found = None if len(rest) < tar.BLOCK else tar.parse_header(rest[: tar.BLOCK])
            if found is not None:
                raise BundleInvalid(Fault.EXTRA, found[0], f"it follows the {count} files")
            raise BundleInvalid(Fault.FORMAT, "", "the tar does not end after its last file")

    def _leave(self) -> None:
        """Go behind the file that was read, and its padding."""
        if self._entry is None:
            return
        self._entry.skip()
        zeros = tar.padding(self._entry.size)
        if self._file.read(len(zeros)) != zeros:
            raise BundleInvalid(Fault.FORMAT, self._entry.name, "it is not followed by zeros")


class _DirectoryReading:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None

    def next(self, name: str) -> Entry:
        self.close()
        try:
            # Every folder above is checked by `finish`, which finds links among them too.
            handle = os.open(self._path / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            raise BundleInvalid(Fault.MISSING, name, "it is not in the directory") from None
        except (IsADirectoryError, NotADirectoryError):
            raise BundleInvalid(Fault.LINK, name, "it is no plain file") from None
        except OSError as error:
            if (self._path / name).is_symlink():
                raise BundleInvalid(Fault.LINK, name, "it is no plain file") from None
            raise OSError(error.errno, error.strerror, str(self._path / name)) from None
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            os.close(handle)
            raise BundleInvalid(Fault.LINK, name, "it is no plain file")
        self._file = os.fdopen(handle, "rb")
        return Entry(name, found.st_size, self._file)

    def finish(self, count: int) -> None:
        self.close()
        for path in self._files():
            name = str(path.relative_to(self._path))
            if path.is_symlink():
                raise BundleInvalid(Fault.LINK, name, "it is a link")
            if not is_known(name):
                raise BundleInvalid(Fault.EXTRA, name, "no file of a bundle has this name")
            count -= 1
        if count < 0:
            raise BundleInvalid(
                Fault.EXTRA, "", f"there are {-count} files that the manifest does not name"
            )

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _files(self) -> Iterator[Path]:
        """Yield what is in the directory, and in the folders in it; links are not followed."""
        folders = [self._path]
        while folders:
            for path in folders.pop().iterdir():
                if path.is_dir() and not path.is_symlink():
                    folders.append(path)
                else:
                    yield path
