"""Small files, many at once."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from artifacts.app.commits import SmallFile
from artifacts.app.intake import INLINE_BYTES
from artifacts.app.reading import expect
from artifacts.domain.files import Item
from artifacts.domain.writers import check_writer
from artifacts.errors import BatchTooLarge, DigestMismatch, NameInvalid, PathReserved
from servicekit.call import current_principal
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence
    from concurrent.futures import Executor

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
        self,
        tenants: TenantPools,
        stores: Stores,
        commits: Commits,
        reader: Reader,
        threads: Executor,
    ) -> None:
        self._tenants = tenants
        self._artifacts = stores.artifacts
        self._commits = commits
        self._reader = reader
        self._threads = threads

    async def put(
        self, tenant_id: str, items: Sequence[Item | DomainError]
    ) -> list[Artifact | DomainError]:
        """Commit small files; return what became of each. Raises BatchTooLarge.

        An item that is refused already stays so.
        """
        size = sum(len(item.body) for item in items if isinstance(item, Item))
        if size > BATCH_LIMIT:
            raise BatchTooLarge(BATCH_LIMIT)
        examine = partial(_examined, items, current_principal().workload)
        if size <= INLINE_BYTES:
            examined = examine()
        else:
            examined = await asyncio.get_running_loop().run_in_executor(self._threads, examine)
        files: dict[str, SmallFile] = {}
        folders: set[str] = set()
        checked: list[SmallFile | DomainError] = []
        for found in examined:
            file = found
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
        results: list[bytes | DomainError | None] = [
            pointer if isinstance(pointer, DomainError) else None for pointer in pointers
        ]
        groups = _groups(pointers)
        end = len(pointers)  # what comes behind does not fit
        for start in range(0, len(groups), _READS_AT_ONCE):
            window = [[n for n in group if n < end] for group in groups[start:][:_READS_AT_ONCE]]
            await self._read(pointers, filter(None, window), found, results)
            end = _end(results, end)
        return [BatchTooLarge(BATCH_LIMIT) if result is None else result for result in results]

    async def _read(
        self,
        pointers: Sequence[Pointer | DomainError],
        groups: Iterable[Sequence[int]],
        found: Mapping[str, Artifact],
        results: list[bytes | DomainError | None],
    ) -> None:
        """Read what some pointers name, each group's file once."""

        async def read(group: Sequence[int]) -> None:
            named = [p for n in group if not isinstance(p := pointers[n], DomainError)]
            values = await self._values(found.get(named[0].key.path), named)
            for number, value in zip(group, values, strict=True):
                results[number] = value

        await asyncio.gather(*map(read, groups))

    async def _values(
        self, found: Artifact | None, pointers: Sequence[Pointer]
    ) -> Sequence[bytes | DomainError]:
        """Return what some pointers into one file name: the whole of it, or values of it."""
        path, digest = pointers[0].key.path, pointers[0].digest
        try:
            artifact = expect(found, path, digest)
            if pointers[0].json_pointer:
                wanted = [pointer.json_pointer for pointer in pointers]
                return await self._reader.values(artifact, wanted, BATCH_LIMIT)
            if artifact.size_bytes > BATCH_LIMIT:
                raise BatchTooLarge(BATCH_LIMIT)
            return [await self._reader.body(artifact)] * len(pointers)
        except DomainError as error:
            return [error] * len(pointers)


def _examined(
    items: Sequence[Item | DomainError], workload: str | None
) -> list[SmallFile | DomainError]:
    return [item if isinstance(item, DomainError) else _file(item, workload) for item in items]


def _file(item: Item, workload: str | None) -> SmallFile | DomainError:
    try:
        check_writer(item.draft.key, workload)
    except PathReserved as error:
        return error
    file = SmallFile.of(item.draft, item.body)
    actual = file.submission.content.digest
    return DigestMismatch(actual) if item.digest not in ("", actual) else file


def _clash(key: Key, files: Container[str], folders: Container[str]) -> NameInvalid | None:
    """Return why a file cannot lie beside what the batch has before it; None when it can."""
    if key.path in files:
        return NameInvalid(key.name, "two items of the batch have it")
    if key.path in folders:
        return NameInvalid(key.name, "another item of the batch needs it as a folder")
    if any(folder in files for folder in key.folders):
        return NameInvalid(key.name, "another item of the batch lies where it needs a folder")
    return None


def _groups(pointers: Sequence[Pointer | DomainError]) -> list[list[int]]:
    """Return the numbers of those pointers that are answered by one reading of a file."""
    groups: dict[tuple[str, str, bool], list[int]] = {}
    for number, pointer in enumerate(pointers):
        if not isinstance(pointer, DomainError):
            key = pointer.key.path, pointer.digest, bool(pointer.json_pointer)
            groups.setdefault(key, []).append(number)
    return list(groups.values())


def _end(results: list[bytes | DomainError | None], end: int) -> int:
    """Return which result is the first that does not fit, and drop all from there on.

    What is not known yet counts nothing: it can only make fewer fit.
    """
    left = BATCH_LIMIT
    for number in range(end):
        result = results[number]
        if isinstance(result, bytes):
            left -= len(result)
        if left < 0 or isinstance(result, BatchTooLarge):
            results[number:] = [None] * (len(results) - number)
            return number
    return end
