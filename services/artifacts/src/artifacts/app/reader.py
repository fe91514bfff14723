"""Reads of committed files; each chunk is verified before it is passed on."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import aclosing
from typing import TYPE_CHECKING

from artifacts.app.body_verifier import ON_LOOP_BYTES
from artifacts.app.small_files import SMALL_BYTES
from artifacts.domain.files import CHUNK_BYTES
from artifacts.domain.values import extract_values
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
from artifacts.metrics import BYTES_READ, FILES_DAMAGED
from artifacts.object_store.client import ObjectDamaged
from artifacts.store import artifacts, bodies

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from concurrent.futures import Executor

    import paging
    from artifacts.app.json_processes import JsonProcesses
    from artifacts.domain.files import Artifact
    from artifacts.domain.keys import ArtifactKey, BucketLayout
    from artifacts.object_store.client import ObjectStore
    from dataplane.tenants import TenantPools

JSON_FILE_BYTES = 16 << 20
"""The largest file that JSON values are extracted from, as it is parsed in memory."""

_ATTEMPTS = 3
_RETRY_SECONDS = 0.1


class Reader:
    """Finds rows, and reads the bytes of files from the object store."""

    def __init__(
        self,
        tenants: TenantPools,
        layout: BucketLayout,
        objects: ObjectStore,
        threads: Executor,
        json_processes: JsonProcesses,
    ) -> None:
        self._tenants = tenants
        self._layout = layout
        self._objects = objects
        self._threads = threads
        self._json_processes = json_processes

    async def find(self, key: ArtifactKey, digest: str = "", offset: int = 0) -> Artifact:
        """Return a file's row. Raises ArtifactNotFound, DigestUnexpected, RangeInvalid."""
        async with self._tenants.connection(key.tenant_id) as connection:
            row = await artifacts.find(connection, self._layout, key)
        found = check_found(row, key.path, digest)
        if offset > found.size_bytes:
            raise RangeInvalid(found.size_bytes)
        return found

    async def page(
        self, tenant_id: str, folder: str, size: int, token: str
    ) -> paging.Page[Artifact]:
        """Return one page of a folder's files, sorted by path."""
        async with self._tenants.connection(tenant_id) as connection:
            return await artifacts.page(connection, self._layout, tenant_id, folder, size, token)

    async def chunks(
        self, found: Artifact, offset: int = 0, limit: int = 0
    ) -> AsyncGenerator[bytes, None]:
        """Yield a file's verified bytes from `offset` on, at most `limit` (0: all).

        Raises ArtifactCorrupt, StoreUnavailable.
        """
        end = min(found.size_bytes, offset + limit) if limit else found.size_bytes
        if end == offset and found.size_bytes:
            return
        first, last = offset // CHUNK_BYTES, max(end - 1, 0) // CHUNK_BYTES
        digests = await self._digests(found, first, last)
        start = first * CHUNK_BYTES
        async with aclosing(_prefetch(self._verified(found, start, digests))) as chunks:
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
        """Return the JSON values at some pointers of a file, or an error for each without one.

        Values that exceed `limit` bytes together are BatchTooLarge. Raises ValueTooLarge,
        ArtifactCorrupt, StoreUnavailable.
        """
        if found.size_bytes > JSON_FILE_BYTES:
            raise ValueTooLarge(JSON_FILE_BYTES)
        if found.size_bytes * len(json_pointers) <= ON_LOOP_BYTES:  # each may be the whole file
            values = extract_values(await self.body(found), json_pointers, limit)
        else:
            body, tenant_id = await self.body(found), found.key.tenant_id
            values = await self._json_processes.values(tenant_id, body, json_pointers, limit)
        pairs = zip(json_pointers, values, strict=True)
        return [_value_or_error(json_pointer, value, limit or 0) for json_pointer, value in pairs]

    async def _digests(self, found: Artifact, first: int, last: int) -> list[bytes]:
        if found.size_bytes <= CHUNK_BYTES:
            return [bytes.fromhex(found.digest)]
        async with self._tenants.connection(found.key.tenant_id) as connection:
            count = last - first + 1
            return await artifacts.chunk_digests(connection, found, first, count)

    async def _verified(
        self, found: Artifact, start: int, digests: list[bytes]
    ) -> AsyncGenerator[bytes, None]:
        """Yield the chunks with these digests; read again, twice, after a transient failure."""
        end = min(found.size_bytes, start + len(digests) * CHUNK_BYTES)
        position = failures = 0
        while position < len(digests):
            try:
                offset = start + position * CHUNK_BYTES
                pieces = self._objects.read(
                    found.key.object_name, found.size_bytes, offset, end - offset
                )
                async with aclosing(_prefetch(pieces)) as ahead:  # one is read, one is hashed
                    async for piece in ahead:
                        await self._verify(found, piece, digests[position])
                        BYTES_READ.inc(len(piece))
                        yield piece
                        position, failures = position + 1, 0
                if not found.size_bytes:
                    return
            except (StoreUnavailable, ArtifactCorrupt, ObjectDamaged) as error:
                if type(error) is not StoreUnavailable and (body := await self._unstored(found)):
                    yield body
                    return
                failures += 1
                if failures == _ATTEMPTS:
                    FILES_DAMAGED.inc(type(error) is not StoreUnavailable)
                    raise _domain_error(found, error) from error
                await asyncio.sleep(_RETRY_SECONDS)

    async def _unstored(self, found: Artifact) -> bytes | None:
        """Return a small file's bytes from the database, if its PUT may not have ended yet."""
        if found.size_bytes > SMALL_BYTES:
            return None
        async with self._tenants.connection(found.key.tenant_id) as connection:
            body = await bodies.find(connection, found.path)
        return None if body is None or _sha256(body).hex() != found.digest else body

    async def _verify(self, found: Artifact, piece: bytes, digest: bytes) -> None:
        if len(piece) <= ON_LOOP_BYTES:
            actual = _sha256(piece)
        else:
            loop = asyncio.get_running_loop()
            actual = await loop.run_in_executor(self._threads, _sha256, piece)
        if actual != digest:
            raise ArtifactCorrupt(found.path)


async def _prefetch(source: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Yield the items of `source`, and fetch the next one meanwhile. Closes it at the end."""
    upcoming = asyncio.ensure_future(anext(source, None))
    try:
        while (item := await upcoming) is not None:
            upcoming = asyncio.ensure_future(anext(source, None))
            yield item
    finally:
        upcoming.cancel()
        await asyncio.wait((upcoming,))
        await source.aclose()


def check_found(found: Artifact | None, path: str, digest: str) -> Artifact:
    """Return `found` if it exists and has the digest that was asked for, if any.

    Raises ArtifactNotFound, DigestUnexpected.
    """
    if found is None:
        raise ArtifactNotFound(path)
    if digest and found.digest != digest:
        raise DigestUnexpected(path, found.digest)
    return found


def _sha256(piece: bytes) -> bytes:
    return hashlib.sha256(piece).digest()


def _domain_error(found: Artifact, error: Exception) -> Exception:
    return ArtifactCorrupt(found.path) if isinstance(error, ObjectDamaged) else error


def _value_or_error(
    json_pointer: str, value: bytes | str | None, limit: int
) -> bytes | PointerInvalid | BatchTooLarge:
    if value is None:
        return BatchTooLarge(limit)
    return PointerInvalid(json_pointer, value) if isinstance(value, str) else value
