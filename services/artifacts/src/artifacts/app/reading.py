"""Files as readers get them: through their rows only, every chunk verified before it goes on."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import aclosing
from typing import TYPE_CHECKING

from artifacts.app.intake import INLINE_BYTES
from artifacts.blobs.store import BlobDamaged
from artifacts.domain.files import CHUNK_BYTES
from artifacts.domain.values import values_of
from artifacts.errors import (
    ArtifactCorrupt,
    ArtifactNotFound,
    BatchTooLarge,
    DigestUnexpected,
    PointerInvalid,
    RangeInvalid,
    StoreUnavailable,
    ValueTooLarge,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from concurrent.futures import Executor

    from artifacts.app.documents import Documents
    from artifacts.blobs.store import Blobs
    from artifacts.domain.files import Artifact
    from artifacts.domain.keys import Key
    from artifacts.store.stores import Stores
    from dataplane import paging
    from dataplane.tenants import TenantPools

DOCUMENT_LIMIT = 16 << 20
"""The largest file that values are taken out of: it is parsed in memory."""

_ATTEMPTS = 3
_PAUSE_SECONDS = 0.1


class Reader:
    def __init__(
        self,
        tenants: TenantPools,
        stores: Stores,
        blobs: Blobs,
        threads: Executor,
        documents: Documents,
    ) -> None:
        self._tenants = tenants
        self._artifacts = stores.artifacts
        self._blobs = blobs
        self._threads = threads
        self._documents = documents

    async def find(self, key: Key, digest: str = "", offset: int = 0) -> Artifact:
        """Return a file's row. Raises ArtifactNotFound, DigestUnexpected, RangeInvalid."""
        async with self._tenants.connection(key.tenant_id) as connection:
            found = expect(await self._artifacts.find(connection, key), key.path, digest)
        if offset > found.size_bytes:
            raise RangeInvalid(found.size_bytes)
        return found

    async def page(
        self, tenant_id: str, folder: str, size: int, token: str
    ) -> paging.Page[Artifact]:
        """Return one page of a folder's files, by path."""
        async with self._tenants.connection(tenant_id) as connection:
            return await self._artifacts.page(connection, tenant_id, folder, size, token)

    async def chunks(
        self, found: Artifact, offset: int = 0, limit: int = 0
    ) -> AsyncGenerator[bytes, None]:
        """Yield a file's bytes from `offset` on, `limit` at most (0: all), each verified before.

        Raises ArtifactCorrupt, StoreUnavailable.
        """
        end = min(found.size_bytes, offset + limit) if limit else found.size_bytes
        if end == offset and found.size_bytes:
            return
        first, last = offset // CHUNK_BYTES, max(end - 1, 0) // CHUNK_BYTES
        digests = await self._digests(found, first, last)
        start = first * CHUNK_BYTES
        async with aclosing(_one_ahead(self._verified(found, start, digests))) as chunks:
            async for chunk in chunks:
                yield chunk[max(offset - start, 0) : end - start]
                start += len(chunk)

    async def body(self, found: Artifact) -> bytes:
        """Return all of a small file. Raises ArtifactCorrupt, StoreUnavailable."""
        async with aclosing(self.chunks(found)) as chunks:
            return b"".join([chunk async for chunk in chunks])

    async def values(
        self, found: Artifact, json_pointers: Sequence[str], limit: int | None = None
    ) -> list[bytes | PointerInvalid | BatchTooLarge]:
        """Return the JSON values at some pointers of a file, or why there is none.

        From the value on that would make more than `limit` bytes, it is BatchTooLarge. Raises
        ValueTooLarge, ArtifactCorrupt, StoreUnavailable.
        """
        if found.size_bytes > DOCUMENT_LIMIT:
            raise ValueTooLarge(DOCUMENT_LIMIT)
        if found.size_bytes * len(json_pointers) <= INLINE_BYTES:  # each value may be all of it
            values = values_of(await self.body(found), json_pointers, limit)
        else:
            body, tenant_id = await self.body(found), found.key.tenant_id
            values = await self._documents.values(tenant_id, body, json_pointers, limit)
        pairs = zip(json_pointers, values, strict=True)
        return [_told_value(json_pointer, value, limit or 0) for json_pointer, value in pairs]

    async def _digests(self, found: Artifact, first: int, last: int) -> list[bytes]:
        if found.size_bytes <= CHUNK_BYTES:
            return [bytes.fromhex(found.digest)]
        async with self._tenants.connection(found.key.tenant_id) as connection:
            count = last - first + 1
            return await self._artifacts.chunk_digests(connection, found, first, count)

    async def _verified(
        self, found: Artifact, start: int, digests: list[bytes]
    ) -> AsyncGenerator[bytes, None]:
        """Yield the chunks with these digests. A failure may pass: look again before giving up."""
        end = min(found.size_bytes, start + len(digests) * CHUNK_BYTES)
        position = failures = 0
        while position < len(digests):
            try:
                offset = start + position * CHUNK_BYTES
                pieces = self._blobs.read(
                    found.key.object_name, found.size_bytes, offset, end - offset
                )
                async with aclosing(pieces):
                    async for piece in pieces:
                        await self._verify(found, piece, digests[position])
                        yield piece
                        position, failures = position + 1, 0
                if not found.size_bytes:
                    return
            except (StoreUnavailable, ArtifactCorrupt, BlobDamaged) as error:
                failures += 1
                if failures == _ATTEMPTS:
                    raise _told(found, error) from error
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _verify(self, found: Artifact, piece: bytes, digest: bytes) -> None:
        if len(piece) <= INLINE_BYTES:
            actual = _sha256(piece)
        else:
            loop = asyncio.get_running_loop()
            actual = await loop.run_in_executor(self._threads, _sha256, piece)
        if actual != digest:
            raise ArtifactCorrupt(found.path)


async def _one_ahead(source: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Yield what `source` does, while it works at the next. Closes it at the end."""
    coming = asyncio.ensure_future(anext(source, None))
    try:
        while (item := await coming) is not None:
            coming = asyncio.ensure_future(anext(source, None))
            yield item
    finally:
        coming.cancel()
        await asyncio.wait((coming,))
        await source.aclose()


def expect(found: Artifact | None, path: str, digest: str) -> Artifact:
    """Return what was found, if it is what was asked for.

    Raises ArtifactNotFound, DigestUnexpected.
    """
    if found is None:
        raise ArtifactNotFound(path)
    if digest and found.digest != digest:
        raise DigestUnexpected(path, found.digest)
    return found


def _sha256(piece: bytes) -> bytes:
    return hashlib.sha256(piece).digest()


def _told(found: Artifact, error: Exception) -> Exception:
    return ArtifactCorrupt(found.path) if isinstance(error, BlobDamaged) else error


def _told_value(
    json_pointer: str, value: bytes | str | None, limit: int
) -> bytes | PointerInvalid | BatchTooLarge:
    if value is None:
        return BatchTooLarge(limit)
    return PointerInvalid(json_pointer, value) if isinstance(value, str) else value
