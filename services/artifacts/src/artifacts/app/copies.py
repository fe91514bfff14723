"""CopyArtifact: a copy of a file, or of one JSON value in it, without a round trip of the bytes."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from artifacts.app.committer import StreamedFile
from artifacts.domain.files import CHUNK_BYTES, CopySource
from artifacts.domain.writers import check_writer
from servicekit.call import current_principal
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from artifacts.app.committer import Committer
    from artifacts.app.reader import Reader
    from artifacts.domain.files import Artifact, ArtifactPointer, Draft

_IN_MEMORY_BYTES = 3 << 20


class Copies:
    """Commits copies, with the lineage to their source."""

    def __init__(self, reader: Reader, committer: Committer) -> None:
        self._reader = reader
        self._committer = committer

    async def copy(self, pointer: ArtifactPointer, target: Draft) -> Artifact:
        """Commit a copy of a file, or of a JSON value in it, and its lineage.

        Raises PathReserved, and what Reader.find, Reader.values and Committer.commit_stream raise.
        """
        check_writer(target.key, current_principal().workload)
        found = await self._reader.find(pointer.key, pointer.digest)
        source = CopySource(found.path, found.digest, pointer.json_pointer)
        if pointer.json_pointer:
            return await self._store(target, await self._value(found, pointer), source)
        if found.size_bytes <= _IN_MEMORY_BYTES:
            return await self._store(target, await self._reader.body(found), source)
        file = StreamedFile(target, found.size_bytes, found.digest, source)
        async with aclosing(self._reader.chunks(found)) as chunks:
            return await self._committer.commit_stream(target.key.tenant_id, file, chunks)

    async def _value(self, found: Artifact, pointer: ArtifactPointer) -> bytes:
        value = (await self._reader.values(found, [pointer.json_pointer]))[0]
        if isinstance(value, DomainError):
            raise value
        return value

    async def _store(self, target: Draft, body: bytes, source: CopySource) -> Artifact:
        tenant_id = target.key.tenant_id
        file = await self._committer.prepare(target, body, source)
        if len(body) > _IN_MEMORY_BYTES:
            streamed = StreamedFile(target, len(body), file.submission.content.digest, source)
            return await self._committer.commit_stream(tenant_id, streamed, _chunks(body))
        outcome = (await self._committer.commit_all(tenant_id, [file]))[target.key.path]
        if isinstance(outcome, DomainError):
            raise outcome
        return outcome


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), CHUNK_BYTES):
        yield body[start : start + CHUNK_BYTES]
