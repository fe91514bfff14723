"""Verification: every file of a bundle against its manifest, in one pass and bounded memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bundle import audit, index, manifest_json, names
from bundle.errors import BundleInvalid, Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bundle.index import ObjectEntry
    from bundle.manifest import Manifest, Objects, Table
    from bundle.source import Entry, Reading, Source

SIGNATURE_LIMIT = 64 << 10


@dataclass(frozen=True, slots=True)
class Verified:
    """A bundle that is whole, and how many files it has."""

    manifest: Manifest
    file_count: int
    size_bytes: int


def read_manifest(source: Source, check: Callable[[bytes, bytes], None]) -> Manifest:
    """Read the manifest. Raises BundleInvalid, OSError.

    `check` is given the file and its signature, and raises BundleInvalid unless they belong
    together.
    """
    with source.reading() as reading:
        return _manifest(reading, check)


def verify(
    source: Source,
    check: Callable[[bytes, bytes], None],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Verified:
    """Verify everything that is in a bundle. Raises BundleInvalid, OSError.

    `progress` is told how many of how many bytes have been verified.
    """
    with source.reading() as reading:
        manifest = _manifest(reading, check)
        work = _Verification(source, reading, manifest, progress)
        work.run()
        return Verified(manifest, work.files, work.done)


def objects(source: Source, manifest: Manifest) -> Iterator[ObjectEntry]:
    """Yield the list of objects of a bundle that has been verified."""
    with source.reading() as reading:
        yield from index.read(skip_to_index(reading, manifest))


def skip_to_index(reading: Reading, manifest: Manifest) -> Entry:
    """Go over the tables of a verified bundle; return its list of objects."""
    for name in (names.MANIFEST, names.SIGNATURE):
        reading.next(name)
    for table in manifest.tables:
        reading.next(names.table_file(table.name))
    return reading.next(names.INDEX)


def _manifest(reading: Reading, check: Callable[[bytes, bytes], None]) -> Manifest:
    raw = _small(reading.next(names.MANIFEST), manifest_json.MANIFEST_LIMIT)
    signature = _small(reading.next(names.SIGNATURE), SIGNATURE_LIMIT)
    check(raw, signature)
    return manifest_json.parse(raw)


def _small(entry: Entry, limit: int) -> bytes:
    if entry.size > limit:
        raise BundleInvalid(Fault.LIMIT, entry.name, f"it has more than {limit:,} bytes")
    return b"".join(iter(entry.read, b""))


class _Verification:
    def __init__(
        self,
        source: Source,
        reading: Reading,
        manifest: Manifest,
        progress: Callable[[int, int], None],
    ) -> None:
        self._source = source
        self._reading = reading
        self._manifest = manifest
        self._progress = progress
        self._total = (
            sum(table.size_bytes for table in manifest.tables)
            + manifest.objects.index_size_bytes
            + manifest.objects.size_bytes
        )
        self.done = 0
        self.files = 2  # manifest and signature

    def run(self) -> None:
        if all(table.name != audit.TABLE for table in self._manifest.tables):
            raise BundleInvalid(
                Fault.AUDIT, names.MANIFEST, f"it names no table {audit.TABLE}, but an end of it"
            )
        for table in self._manifest.tables:
            self._verify_table(table)
        self._verify_index(self._manifest.objects)
        with self._source.reading() as second:
            self._verify_objects(index.read(skip_to_index(second, self._manifest)))
        self._reading.finish(self.files)

    def _verify_table(self, table: Table) -> None:
        entry = self._next(names.table_file(table.name), table.size_bytes)
        chain = audit.ChainCheck(table.columns) if table.name == audit.TABLE else None
        digest, rows = hashlib.sha256(), 0
        while data := entry.read():
            digest.update(data)
            rows += data.count(b"\n")
            if chain is not None:
                chain.add(data)
            self._passed(len(data))
        if digest.hexdigest() != table.digest:
            raise BundleInvalid(Fault.DIGEST, entry.name, "its sha256 is another")
        if rows != table.rows:
            raise BundleInvalid(Fault.SIZE, entry.name, f"it has {rows} rows, not {table.rows}")
        if chain is not None:
            chain.finish(self._manifest.audit)

    def _verify_index(self, objects: Objects) -> None:
        entry = self._next(names.INDEX, objects.index_size_bytes)
        digest = hashlib.sha256()
        while data := entry.read():
            digest.update(data)
            self._passed(len(data))
        if digest.hexdigest() != objects.index_digest:
            raise BundleInvalid(Fault.DIGEST, entry.name, "its sha256 is another")

    def _verify_objects(self, listed: Iterator[ObjectEntry]) -> None:
        keys, count, size, before = index.KeyCheck(), 0, 0, ""
        sizes = 0
        for entry in listed:
            keys.add(entry.key)
            count += 1
            if count > self._manifest.objects.count:
                break
            if entry.digest == before:
                if entry.size_bytes != sizes:
                    raise BundleInvalid(
                        Fault.SIZE, names.INDEX, f"{entry.digest} has two different sizes"
                    )
                continue
            before, sizes = entry.digest, entry.size_bytes
            size += entry.size_bytes
            self._verify_object(entry)
        expected = self._manifest.objects
        if (count, size) != (expected.count, expected.size_bytes):
            raise BundleInvalid(Fault.SIZE, names.INDEX, "it is not what the manifest says of it")
        keys.finish()

    def _verify_object(self, listed: ObjectEntry) -> None:
        entry = self._next(names.object_file(listed.digest), listed.size_bytes)
        digest = hashlib.sha256()
        while data := entry.read():
            digest.update(data)
            self._passed(len(data))
        if digest.hexdigest() != listed.digest:
            raise BundleInvalid(Fault.DIGEST, entry.name, "its sha256 is another")

    def _next(self, name: str, size: int) -> Entry:
        entry = self._reading.next(name)
        if entry.size != size:
            raise BundleInvalid(Fault.SIZE, name, f"it has {entry.size:,} bytes, not {size:,}")
        self.files += 1
        return entry

    def _passed(self, count: int) -> None:
        self.done += count
        self._progress(self.done, self._total)
