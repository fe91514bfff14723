"""A bundle's directory as the tar that it is sent as, from any byte on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bundle import index, manifest_json, names, tar
from bundle.source import CHUNK_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bundle.manifest import Manifest


def tar_size(manifest: Manifest, folder: Path) -> int:
    """Return the bytes of the tar of a bundle. Raises OSError, BundleInvalid."""
    return sum(_room(size) for _, size in _files(manifest, folder)) + len(tar.END)


def tar_bytes(folder: Path, offset: int = 0) -> Iterator[bytes]:
    """Yield the tar of a complete bundle from a byte on. Raises OSError, BundleInvalid."""
    manifest = manifest_json.parse((folder / names.MANIFEST).read_bytes())
    skipped = _Skipping(offset)
    for name, size in _files(manifest, folder):
        if skipped.passes(_room(size)):
            continue
        yield from skipped.rest(tar.header(name, size))
        with (folder / name).open("rb") as file:
            left = size
            step = min(skipped.left, left)
            file.seek(step)
            skipped.left -= step
            left -= step
            while left:
                data = file.read(min(CHUNK_BYTES, left))
                if not data:
                    raise OSError(f"{name} has become shorter")
                left -= len(data)
                yield data
        yield from skipped.rest(tar.padding(size))
    yield from skipped.rest(tar.END)


def _files(manifest: Manifest, folder: Path) -> Iterator[tuple[str, int]]:
    """Yield the files in their order, with their sizes."""
    for name in (names.MANIFEST, names.SIGNATURE):
        yield name, (folder / name).stat().st_size
    for table in manifest.tables:
        yield names.table_file(table.name), table.size_bytes
    yield names.INDEX, manifest.objects.index_size_bytes
    before = ""
    with (folder / names.INDEX).open("rb") as file:
        for entry in index.read(file):
            if entry.digest != before:
                before = entry.digest
                yield names.object_file(entry.digest), entry.size_bytes


def _room(size: int) -> int:
    return tar.BLOCK + size + len(tar.padding(size))


@dataclass(slots=True)
class _Skipping:
    """How many bytes are still to be left out."""

    left: int

    def passes(self, size: int) -> bool:
        """Leave out `size` bytes if all of them are to be left out."""
        if size > self.left:
            return False
        self.left -= size
        return True

    def rest(self, data: bytes) -> Iterator[bytes]:
        """Yield what is not left out of some bytes."""
        step = min(self.left, len(data))
        self.left -= step
        if step < len(data):
            yield data[step:]
