"""BatchCopyArtifacts: copies of whole files, many per call, with all that is known of them."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from artifacts.app.committer import StreamedFile
from artifacts.app.reader import check_found
from artifacts.domain.files import CopySource
from artifacts.domain.writers import check_writer
from artifacts.errors import NameInvalid
from artifacts.store import artifacts
from servicekit.call import current_principal
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from artifacts.app.committer import Committer
    from artifacts.app.reader import Reader
    from artifacts.domain.buffered_file import BufferedFile
    from artifacts.domain.files import Artifact, Draft, FileCopy
    from artifacts.domain.keys import BucketLayout
    from dataplane.tenants import TenantPools

_IN_MEMORY_BYTES = 3 << 20
"""Larger files are copied as a stream, one after another."""
_BYTES_AT_ONCE = 8 << 20
_READS_AT_ONCE = 8


class BatchCopies:
    """Copies files as they are: bytes, type, summary, metrics and metadata."""

    def __init__(
        self,
        tenants: TenantPools,
        layout: BucketLayout,
        reader: Reader,
        committer: Committer,
    ) -> None:
        self._tenants = tenants
        self._layout = layout
        self._reader = reader
        self._committer = committer

    async def copy(
        self, tenant_id: str, copies: Sequence[FileCopy | DomainError]
    ) -> list[Artifact | DomainError]:
        """Commit copies; return the outcome of each, in order.

        What lies at its new path already, with the digest of the source, is not read again. A copy
        that is an error already is returned as it is.
        """
        known = [copy for copy in copies if not isinstance(copy, DomainError)]
        paths = {path for copy in known for path in (copy.source.path, copy.target.path)}
        async with self._tenants.connection(tenant_id) as connection:
            found = await artifacts.find_all(connection, self._layout, tenant_id, list(paths))
        outcomes: dict[str, Artifact | DomainError] = {}
        waiting: dict[str, tuple[Artifact, Draft]] = {}
        for copy in known:
            path = copy.target.path
            if path in outcomes or path in waiting:
                outcomes[path] = NameInvalid(copy.target.name, "two copies of the batch have it")
                waiting.pop(path, None)
                continue
            outcome = _checked(copy, found)
            if isinstance(outcome, tuple):
                waiting[path] = outcome
            else:
                outcomes[path] = outcome
        small = [each for each in waiting.values() if each[0].size_bytes <= _IN_MEMORY_BYTES]
        for part in _parts(small):
            outcomes |= await self._copy_small(tenant_id, part)
        for found_file, draft in waiting.values():
            if found_file.size_bytes > _IN_MEMORY_BYTES:
                outcomes[draft.key.path] = await self._stream(tenant_id, found_file, draft)
        return [
            copy if isinstance(copy, DomainError) else outcomes[copy.target.path] for copy in copies
        ]

    async def _copy_small(
        self, tenant_id: str, part: Sequence[tuple[Artifact, Draft]]
    ) -> dict[str, Artifact | DomainError]:
        at_once = asyncio.Semaphore(_READS_AT_ONCE)

        async def read(found: Artifact, draft: Draft) -> BufferedFile | DomainError:
            try:
                async with at_once:
                    body = await self._reader.body(found)
                return await self._committer.prepare(draft, body, _source(found))
            except DomainError as error:
                return error

        files = await asyncio.gather(*(read(found, draft) for found, draft in part))
        outcomes: dict[str, Artifact | DomainError] = {
            draft.key.path: file
            for (_, draft), file in zip(part, files, strict=True)
            if isinstance(file, DomainError)
        }
        buffered = [file for file in files if not isinstance(file, DomainError)]
        return outcomes | await self._committer.commit_all(tenant_id, buffered)

    async def _stream(
        self, tenant_id: str, found: Artifact, draft: Draft
    ) -> Artifact | DomainError:
        file = StreamedFile(draft, found.size_bytes, found.digest, _source(found))
        try:
            async with aclosing(self._reader.chunks(found)) as chunks:
                return await self._committer.commit_stream(tenant_id, file, chunks)
        except DomainError as error:
            return error


def _source(found: Artifact) -> CopySource:
    return CopySource(found.path, found.digest, "")


def _checked(
    copy: FileCopy, found: Mapping[str, Artifact]
) -> tuple[Artifact, Draft] | Artifact | DomainError:
    """Return what is to be copied to where, or the outcome if that is known already."""
    try:
        check_writer(copy.target, current_principal().workload)
        source = check_found(found.get(copy.source.path), copy.source.path, copy.digest)
    except DomainError as error:
        return error
    there = found.get(copy.target.path)
    if there is not None and there.digest == source.digest:
        return there
    return source, replace(source.draft, key=copy.target, item=copy.item, visit=copy.visit)


def _parts(files: Iterable[tuple[Artifact, Draft]]) -> Iterator[list[tuple[Artifact, Draft]]]:
    """Divide files, so that the bytes of one part are in memory together."""
    part: list[tuple[Artifact, Draft]] = []
    size = 0
    for file in files:
        if part and size + file[0].size_bytes > _BYTES_AT_ONCE:
            yield part
            part, size = [], 0
        part.append(file)
        size += file[0].size_bytes
    if part:
        yield part
