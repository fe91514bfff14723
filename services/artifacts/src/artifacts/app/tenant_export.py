"""The objects of a tenant as a whole: for backups, exports, and their return."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeAlias, Union

from artifacts.domain.files import CHUNK_BYTES
from artifacts.domain.tenant_objects import TenantObject
from artifacts.errors import (
    ArtifactNotFound,
    DigestMismatch,
    PathInvalid,
    SizeMismatch,
    StreamInvalid,
)
from artifacts.store import artifacts, snapshots

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from artifacts.app.reader import Reader
    from artifacts.domain.files import Artifact
    from artifacts.domain.keys import ArtifactKey, BucketLayout
    from artifacts.object_store.client import ObjectStore
    from dataplane.tenants import TenantPools

Part: TypeAlias = Union["TenantObject", bytes]
"""An object, or the next bytes of the object before."""

_READ_AHEAD = 16
_CONCURRENT_PUTS = 16


class TenantExport:
    """Lists, sends and stores all objects of a tenant."""

    def __init__(
        self, tenants: TenantPools, layout: BucketLayout, objects: ObjectStore, reader: Reader
    ) -> None:
        self._tenants = tenants
        self._layout = layout
        self._objects = objects
        self._reader = reader

    def path_prefix(self, tenant_id: str) -> str:
        """Return what the paths of a tenant's files begin with."""
        return self._layout.prefix(tenant_id)

    async def manifest(
        self, tenant_id: str, snapshot_id: str
    ) -> AsyncGenerator[TenantObject, None]:
        """Yield the objects of the files that a snapshot sees, by digest, then by key.

        Raises RequestInvalid when there is no such snapshot.
        """
        async with (
            self._tenants.connection(tenant_id) as connection,
            snapshots.imported(connection, snapshot_id),
        ):
            async for found in artifacts.all_by_digest(connection, self._layout, tenant_id):
                yield _object(tenant_id, found)

    async def bodies(self, tenant_id: str, keys: Sequence[str]) -> AsyncGenerator[Part, None]:
        """Yield objects, each followed by its verified bytes.

        Raises PathInvalid, ArtifactNotFound, ArtifactCorrupt, StoreUnavailable.
        """
        paths = [self._key(tenant_id, key).path for key in keys]
        async with self._tenants.connection(tenant_id) as connection:
            found = await artifacts.find_all(connection, self._layout, tenant_id, paths)
        for path in paths:
            if path not in found:
                raise ArtifactNotFound(path)
        files = [found[path] for path in paths]
        small = [file for file in files if file.size_bytes <= CHUNK_BYTES]
        ahead: dict[str, asyncio.Task[bytes]] = {}
        waiting = iter(small)
        try:
            for file in files:
                while len(ahead) < _READ_AHEAD and (upcoming := next(waiting, None)) is not None:
                    ahead[upcoming.path] = asyncio.create_task(self._reader.body(upcoming))
                yield _object(tenant_id, file)
                if file.path in ahead:
                    yield await ahead.pop(file.path)
                    continue
                async with aclosing(self._reader.chunks(file)) as chunks:
                    async for chunk in chunks:
                        yield chunk
        finally:
            for task in ahead.values():
                task.cancel()
            await asyncio.gather(*ahead.values(), return_exceptions=True)

    async def receive(self, tenant_id: str, parts: AsyncIterator[Part]) -> int:
        """Store objects, each followed by its bytes; return how many.

        Raises PathInvalid, StreamInvalid, SizeMismatch, DigestMismatch, StoreUnavailable. Objects
        before the one that was refused may have been stored.
        """
        count, puts = 0, set[asyncio.Task[None]]()
        try:
            while (announced := await anext(parts, None)) is not None:
                if isinstance(announced, bytes):
                    raise StreamInvalid("bytes came before an object was announced")
                name = self._key(tenant_id, announced.key).object_name
                pieces = _pieces(parts, announced)
                if announced.size_bytes > CHUNK_BYTES:
                    await self._objects.put_pieces(name, announced.size_bytes, pieces)
                else:
                    body = b"".join([piece async for piece in pieces])
                    puts.add(asyncio.create_task(self._objects.put(name, body)))
                count += 1
                while len(puts) >= _CONCURRENT_PUTS:
                    puts = await _some_done(puts)
            while puts:
                puts = await _some_done(puts)
        finally:
            for put in puts:
                put.cancel()
            await asyncio.gather(*puts, return_exceptions=True)
        return count

    def _key(self, tenant_id: str, key: str) -> ArtifactKey:
        parts = key.split("/", 2)
        if len(parts) != 3:
            raise PathInvalid(key)
        found = self._layout.key(tenant_id, *parts)
        if found.object_name != f"{tenant_id}/{key}":
            raise PathInvalid(key)
        return found


async def _some_done(puts: set[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
    """Wait until one has ended; return those that have not. Raises what one has raised."""
    done, left = await asyncio.wait(puts, return_when=asyncio.FIRST_COMPLETED)
    for put in done:
        put.result()
    return left


async def _pieces(parts: AsyncIterator[Part], announced: TenantObject) -> AsyncIterator[bytes]:
    """Yield the bytes of one object; its last ones only when all agree with its digest."""
    hashing, received, last = hashlib.sha256(), 0, b""
    while received < announced.size_bytes:
        piece = await anext(parts, None)
        if not isinstance(piece, bytes):
            raise SizeMismatch(announced.size_bytes, str(received))
        received += len(piece)
        if received > announced.size_bytes:
            raise SizeMismatch(announced.size_bytes, f"{received} or more")
        await asyncio.to_thread(hashing.update, piece)
        if last:
            yield last
        last = piece
    if hashing.hexdigest() != announced.digest:
        raise DigestMismatch(hashing.hexdigest())
    if last:
        yield last


def _object(tenant_id: str, found: Artifact) -> TenantObject:
    key = found.key.object_name.removeprefix(f"{tenant_id}/")
    return TenantObject(key, found.digest, found.size_bytes)
