"""Files made of files: copied whole, or one JSON value of them. The bytes stay in the service."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from artifacts.app.commits import LargeFile
from artifacts.domain.files import CHUNK_BYTES, Source
from artifacts.domain.writers import check_writer
from servicekit.call import current_principal
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from artifacts.app.commits import Commits
    from artifacts.app.reading import Reader
    from artifacts.domain.files import Artifact, Draft, Pointer

_IN_MEMORY_BYTES = 3 << 20


class Copies:
    def __init__(self, reader: Reader, commits: Commits) -> None:
        self._reader = reader
        self._commits = commits

    async def copy(self, pointer: Pointer, target: Draft) -> Artifact:
        """Commit a copy of a file, or of a value inside it, and what it was copied from.

        Raises PathReserved, and what Reader.find, Reader.values and Commits.put_stream raise.
        """
        check_writer(target.key, current_principal().workload)
        found = await self._reader.find(pointer.key, pointer.digest)
        source = Source(found.path, found.digest, pointer.json_pointer)
        if pointer.json_pointer:
            return await self._store(target, await self._value(found, pointer), source)
        if found.size_bytes <= _IN_MEMORY_BYTES:
            return await self._store(target, await self._reader.body(found), source)
        file = LargeFile(target, found.size_bytes, found.digest, source)
        async with aclosing(self._reader.chunks(found)) as chunks:
            return await self._commits.put_stream(target.key.tenant_id, file, chunks)

    async def _value(self, found: Artifact, pointer: Pointer) -> bytes:
        value = (await self._reader.values(found, [pointer.json_pointer]))[0]
        if isinstance(value, DomainError):
            raise value
        return value

    async def _store(self, target: Draft, body: bytes, source: Source) -> Artifact:
        tenant_id = target.key.tenant_id
        small = await self._commits.examine(target, body, source)
        if len(body) > _IN_MEMORY_BYTES:
            file = LargeFile(target, len(body), small.submission.content.digest, source)
            return await self._commits.put_stream(tenant_id, file, _chunks(body))
        outcome = (await self._commits.put_all(tenant_id, [small]))[target.key.path]
        if isinstance(outcome, DomainError):
            raise outcome
        return outcome


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), CHUNK_BYTES):
        yield body[start : start + CHUNK_BYTES]
