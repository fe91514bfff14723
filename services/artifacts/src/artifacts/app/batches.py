"""Small files, many at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from artifacts.app.commits import SmallFile
from artifacts.app.reading import expect
from artifacts.domain.files import Item
from artifacts.domain.writers import check_writer
from artifacts.errors import BatchTooLarge, DigestMismatch, NameInvalid, PathReserved
from servicekit.call import current_principal
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from artifacts.app.commits import Commits
    from artifacts.app.reading import Reader
    from artifacts.domain.files import Artifact, Pointer
    from artifacts.domain.keys import Key
    from artifacts.store.stores import Stores
    from dataplane.tenants import TenantPools

BATCH_LIMIT = 3 << 20
_READS_AT_ONCE = 8


class Batches:
    def __init__(
        self, tenants: TenantPools, stores: Stores, commits: Commits, reader: Reader
    ) -> None:
        self._tenants = tenants
        self._artifacts = stores.artifacts
        self._commits = commits
        self._reader = reader

    async def put(
        self, tenant_id: str, items: Sequence[Item | DomainError]
    ) -> list[Artifact | DomainError]:
        """Commit small files; return what became of each. Raises BatchTooLarge.

        An item that is refused already stays so.
        """
        if sum(len(item.body) for item in items if isinstance(item, Item)) > BATCH_LIMIT:
            raise BatchTooLarge(BATCH_LIMIT)
        files: dict[str, SmallFile] = {}
        folders: set[str] = set()
        checked: list[SmallFile | DomainError] = []
        for item in items:
            file = item if isinstance(item, DomainError) else await self._file(item)
            if isinstance(file, SmallFile):
                file = _clash(file.wish.key, files, folders) or file
            if isinstance(file, SmallFile):
                files[file.submission.path] = file
                folders.update(file.wish.key.folders)
            checked.append(file)
        outcomes = await self._commits.put_all(tenant_id, list(files.values()))
        return [
            outcomes[file.submission.path] if isinstance(file, SmallFile) else file
            for file in checked
        ]

    async def get(
        self, tenant_id: str, pointers: Sequence[Pointer | DomainError]
    ) -> list[bytes | DomainError]:
        """Return small files, or values inside files, until they are too large together.

        A pointer that is refused already stays so.
        """
        paths = {pointer.key.path for pointer in pointers if not isinstance(pointer, DomainError)}
        async with self._tenants.connection(tenant_id) as connection:
            found = await self._artifacts.find_all(connection, tenant_id, list(paths))
        results: list[bytes | DomainError] = []
        left = BATCH_LIMIT
        for start in range(0, len(pointers), _READS_AT_ONCE):
            if left < 0:
                break
            window = pointers[start : start + _READS_AT_ONCE]
            for value in await self._read(window, found, left):
                left -= BATCH_LIMIT + 1 if isinstance(value, BatchTooLarge) else _size(value)
                results.append(value if left >= 0 else BatchTooLarge(BATCH_LIMIT))
        too_large: list[bytes | DomainError] = [BatchTooLarge(BATCH_LIMIT)]
        return results + too_large * (len(pointers) - len(results))

    async def _file(self, item: Item) -> SmallFile | DomainError:
        try:
            check_writer(item.draft.key, current_principal().workload)
        except PathReserved as error:
            return error
        file = await self._commits.examine(item.draft, item.body)
        actual = file.submission.content.digest
        return DigestMismatch(actual) if item.digest not in ("", actual) else file

    async def _read(
        self, window: Sequence[Pointer | DomainError], found: Mapping[str, Artifact], left: int
    ) -> list[bytes | DomainError]:
        """Read what some pointers name, each file once."""
        groups: dict[tuple[str, str, bool], list[Pointer]] = {}
        for pointer in window:
            if not isinstance(pointer, DomainError):
                groups.setdefault(_group(pointer), []).append(pointer)
        read = await asyncio.gather(
            *(self._values(found.get(path), group, left) for (path, *_), group in groups.items())
        )
        values = {key: iter(group) for key, group in zip(groups, read, strict=True)}
        return [
            pointer if isinstance(pointer, DomainError) else next(values[_group(pointer)])
            for pointer in window
        ]

    async def _values(
        self, found: Artifact | None, pointers: Sequence[Pointer], left: int
    ) -> Sequence[bytes | DomainError]:
        """Return what some pointers into one file name: the whole of it, or values of it."""
        path, digest = pointers[0].key.path, pointers[0].digest
        try:
            artifact = expect(found, path, digest)
            if pointers[0].json_pointer:
                return await self._reader.values(artifact, [p.json_pointer for p in pointers])
            if artifact.size_bytes > left:
                raise BatchTooLarge(BATCH_LIMIT)
            return [await self._reader.body(artifact)] * len(pointers)
        except DomainError as error:
            return [error] * len(pointers)


def _clash(key: Key, files: Container[str], folders: Container[str]) -> NameInvalid | None:
    """Return why a file cannot lie beside what the batch has before it; None when it can."""
    if key.path in files:
        return NameInvalid(key.name, "two items of the batch have it")
    if key.path in folders:
        return NameInvalid(key.name, "another item of the batch needs it as a folder")
    if any(folder in files for folder in key.folders):
        return NameInvalid(key.name, "another item of the batch lies where it needs a folder")
    return None


def _size(value: bytes | DomainError) -> int:
    return len(value) if isinstance(value, bytes) else 0


def _group(pointer: Pointer) -> tuple[str, str, bool]:
    return pointer.key.path, pointer.digest, bool(pointer.json_pointer)
