"""Batches of small files: BatchPutArtifacts and BatchGetArtifacts."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from artifacts.app.body_verifier import ON_LOOP_BYTES
from artifacts.app.reader import check_found
from artifacts.domain.buffered_file import BufferedFile
from artifacts.domain.files import BatchItem
from artifacts.domain.writers import check_writer
from artifacts.errors import BatchTooLarge, DigestMismatch, NameInvalid, PathReserved
from artifacts.store import artifacts
from servicekit.call import current_principal
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence
    from concurrent.futures import Executor

    from artifacts.app.committer import Committer
    from artifacts.app.reader import Reader
    from artifacts.domain.files import Artifact, ArtifactPointer
    from artifacts.domain.keys import ArtifactKey, BucketLayout
    from dataplane.tenants import TenantPools

BATCH_BYTES = 3 << 20
_CONCURRENT_READS = 8


class Batches:
    """Commits and reads small files, many per call."""

    def __init__(
        self,
        tenants: TenantPools,
        layout: BucketLayout,
        committer: Committer,
        reader: Reader,
        threads: Executor,
    ) -> None:
        self._tenants = tenants
        self._layout = layout
        self._committer = committer
        self._reader = reader
        self._threads = threads

    async def put(
        self, tenant_id: str, items: Sequence[BatchItem | DomainError]
    ) -> list[Artifact | DomainError]:
        """Commit small files; return the outcome of each, in order. Raises BatchTooLarge.

        An item that is an error already is returned as it is.
        """
        size = sum(len(item.body) for item in items if isinstance(item, BatchItem))
        if size > BATCH_BYTES:
            raise BatchTooLarge(BATCH_BYTES)
        prepare = partial(_prepare_all, items, current_principal().workload)
        if size <= ON_LOOP_BYTES:
            prepared = prepare()
        else:
            prepared = await asyncio.get_running_loop().run_in_executor(self._threads, prepare)
        files: dict[str, BufferedFile] = {}
        folders: set[str] = set()
        checked: list[BufferedFile | DomainError] = []
        for found in prepared:
            file = found
            if isinstance(file, BufferedFile):
                file = _conflict(file.target.key, files, folders) or file
            if isinstance(file, BufferedFile):
                files[file.submission.path] = file
                folders.update(file.target.key.folders)
            checked.append(file)
        outcomes = await self._committer.commit_all(tenant_id, list(files.values()))
        return [
            outcomes[file.submission.path] if isinstance(file, BufferedFile) else file
            for file in checked
        ]

    async def get(
        self, tenant_id: str, pointers: Sequence[ArtifactPointer | DomainError]
    ) -> list[bytes | DomainError]:
        """Return small files, or JSON values inside files, in order.

        What exceeds 3 MiB together is BatchTooLarge. A pointer that is an error already is
        returned as it is.
        """
        paths = {pointer.key.path for pointer in pointers if not isinstance(pointer, DomainError)}
        async with self._tenants.connection(tenant_id) as connection:
            found = await artifacts.find_all(connection, self._layout, tenant_id, list(paths))
        results: list[bytes | DomainError | None] = [
            pointer if isinstance(pointer, DomainError) else None for pointer in pointers
        ]
        groups = _groups(pointers)
        end = len(pointers)  # results from here on exceed the limit
        for start in range(0, len(groups), _CONCURRENT_READS):
            window = [[n for n in group if n < end] for group in groups[start:][:_CONCURRENT_READS]]
            await self._read(pointers, filter(None, window), found, results)
            end = _end(results, end)
        return [BatchTooLarge(BATCH_BYTES) if result is None else result for result in results]

    async def _read(
        self,
        pointers: Sequence[ArtifactPointer | DomainError],
        groups: Iterable[Sequence[int]],
        found: Mapping[str, Artifact],
        results: list[bytes | DomainError | None],
    ) -> None:
        """Read what the pointers of each group name; a group is about one file."""

        async def read(group: Sequence[int]) -> None:
            named = [p for n in group if not isinstance(p := pointers[n], DomainError)]
            values = await self._values(found.get(named[0].key.path), named)
            for number, value in zip(group, values, strict=True):
                results[number] = value

        await asyncio.gather(*map(read, groups))

    async def _values(
        self, found: Artifact | None, pointers: Sequence[ArtifactPointer]
    ) -> Sequence[bytes | DomainError]:
        """Return what pointers into one file name: the whole file, or JSON values of it."""
        path, digest = pointers[0].key.path, pointers[0].digest
        try:
            artifact = check_found(found, path, digest)
            if pointers[0].json_pointer:
                wanted = [pointer.json_pointer for pointer in pointers]
                return await self._reader.values(artifact, wanted, BATCH_BYTES)
            if artifact.size_bytes > BATCH_BYTES:
                raise BatchTooLarge(BATCH_BYTES)
            return [await self._reader.body(artifact)] * len(pointers)
        except DomainError as error:
            return [error] * len(pointers)


def _prepare_all(
    items: Sequence[BatchItem | DomainError], workload: str | None
) -> list[BufferedFile | DomainError]:
    return [item if isinstance(item, DomainError) else _prepare(item, workload) for item in items]


def _prepare(item: BatchItem, workload: str | None) -> BufferedFile | DomainError:
    try:
        check_writer(item.draft.key, workload)
    except PathReserved as error:
        return error
    file = BufferedFile.of(item.draft, item.body)
    actual = file.submission.content.digest
    return DigestMismatch(actual) if item.digest not in ("", actual) else file


def _conflict(
    key: ArtifactKey, files: Container[str], folders: Container[str]
) -> NameInvalid | None:
    """Return the conflict of a file with an earlier item of the batch, if there is one."""
    if key.path in files:
        return NameInvalid(key.name, "two items of the batch have it")
    if key.path in folders:
        return NameInvalid(key.name, "another item of the batch needs it as a folder")
    if any(folder in files for folder in key.folders):
        return NameInvalid(key.name, "another item of the batch lies where it needs a folder")
    return None


def _groups(pointers: Sequence[ArtifactPointer | DomainError]) -> list[list[int]]:
    """Group the indexes of pointers that one read of a file answers."""
    groups: dict[tuple[str, str, bool], list[int]] = {}
    for number, pointer in enumerate(pointers):
        if not isinstance(pointer, DomainError):
            key = pointer.key.path, pointer.digest, bool(pointer.json_pointer)
            groups.setdefault(key, []).append(number)
    return list(groups.values())


def _end(results: list[bytes | DomainError | None], end: int) -> int:
    """Return the index of the first result that exceeds the limit, and drop all from there on.

    Results that are not known yet count as empty: they can only lower the index.
    """
    left = BATCH_BYTES
    for number in range(end):
        result = results[number]
        if isinstance(result, bytes):
            left -= len(result)
        if left < 0 or isinstance(result, BatchTooLarge):
            results[number:] = [None] * (len(results) - number)
            return number
    return end
