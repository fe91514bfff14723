"""The objects of one bucket of an S3 store.

Bodies go by presigned requests of aiohttp, because minio would block a thread for each slow upload
or download, and takes twice the processor time for a small object. The rest does `bucket`.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from contextvars import Context
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Protocol

import aiohttp

from artifacts.domain.files import CHUNK_BYTES
from artifacts.errors import PutOutcomeUnknown, StoreUnavailable
from artifacts.metrics import store_request
from artifacts.object_store.bucket import PUT_SECONDS, Bucket, ObjectMissing
from artifacts.object_store.put_body import PutBody
from artifacts.object_store.signing import PresignedUrls

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from datetime import datetime
    from types import TracebackType

    from artifacts.config import StoreConfig

_CONNECTIONS = 128
_CONNECT_SECONDS = 3.0
_ANSWER_SECONDS = 0.02
_READ_SECONDS = 15.0
_STALL_SECONDS = 60.0
_BUFFER_BYTES = 256 << 10
_PAGE_OBJECTS = 1000


class ObjectDamaged(Exception):
    """The object is missing or has another size than expected."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as LIST and HEAD show it."""

    object_name: str
    size_bytes: int
    modify_time: datetime


class ObjectStore:
    """The objects of one bucket; an async context manager.

    Methods raise StoreUnavailable when the store cannot be reached or refuses.
    """

    def __init__(self, config: StoreConfig) -> None:
        self.endpoint = config.endpoint
        self.bucket = Bucket(config)
        self._urls = PresignedUrls(config, self.bucket)
        self._stack = AsyncExitStack()
        self._answered_at = 0.0
        self._checking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> ObjectStore:
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=_CONNECT_SECONDS, sock_read=_READ_SECONDS
        )
        self._session = await self._stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_CONNECTIONS),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=timeout,
                auto_decompress=False,
                read_bufsize=_BUFFER_BYTES,
            )
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()
        self.bucket.close()

    async def ensure_bucket(self) -> None:
        """Create the bucket unless it exists."""
        bucket = self.bucket
        if not await bucket.call(bucket.client.bucket_exists, bucket.name):
            await bucket.call(bucket.client.make_bucket, bucket.name, bucket.region)

    async def check(self) -> None:
        """Check that the store answers: it did a moment ago, or it does now.

        Those who check at the same time ask once. Raises StoreUnavailable.
        """
        if time.monotonic() - self._answered_at < _ANSWER_SECONDS:
            return
        checking = self._checking
        if checking is None or checking.done():
            # In a context of its own: it must not end with the deadline of this call.
            checking = self._checking = asyncio.create_task(self._check_now(), context=Context())
        await asyncio.wait((checking,))
        checking.result()

    async def _check_now(self) -> None:
        try:
            async with self._session.head(self.endpoint, timeout=_CHECK_TIMEOUT) as answer:
                status = answer.status  # a refusal, because it is not signed
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise StoreUnavailable(f"the object store cannot be reached ({_why(error)})") from error
        if status >= 500:
            raise StoreUnavailable(f"the object store refused (HTTP {status})")
        self._answered_at = time.monotonic()

    async def put(self, object_name: str, body: bytes) -> None:
        """Store an object whole, or nothing of it. Raises PutOutcomeUnknown, StoreUnavailable."""

        async def pieces() -> AsyncIterator[bytes]:
            yield body

        with store_request("put"):
            await self._put(object_name, PutBody(pieces(), len(body), PUT_SECONDS))

    async def put_pieces(
        self, object_name: str, size_bytes: int, pieces: AsyncIterator[bytes]
    ) -> None:
        """Store an object from pieces of `size_bytes` together.

        It becomes visible after its last byte only; what `pieces` raises is raised here, and then
        nothing is stored. The store has a minute to take each piece, and to answer after the last.
        Raises PutOutcomeUnknown when all bytes were sent, else StoreUnavailable.
        """
        with store_request("put"):
            await self._put(object_name, PutBody(pieces, size_bytes, _STALL_SECONDS))

    async def _put(self, object_name: str, body: PutBody) -> None:
        url, size_bytes = self._urls.url("PUT", object_name), body.left
        try:
            async with (
                body.limit,
                self._session.put(
                    url,
                    data=body.pieces() if size_bytes else b"",
                    headers={"Content-Length": str(size_bytes)},
                    timeout=_NO_TIMEOUT,
                ) as answer,
            ):
                await answer.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self._answered_at = 0.0
            if body.error is not None:
                raise body.error from None
            kind = StoreUnavailable if body.left else PutOutcomeUnknown
            raise kind(f"the object store did not take the object ({_why(error)})") from error
        if answer.status >= 500:
            self._answered_at = 0.0
        if answer.status >= 300:
            kind = PutOutcomeUnknown if answer.status >= 500 else StoreUnavailable
            raise kind(f"the object store refused the object (HTTP {answer.status})")
        self._answered_at = time.monotonic()

    async def read(
        self, object_name: str, size_bytes: int, offset: int, length: int
    ) -> AsyncGenerator[bytes, None]:
        """Yield a range of an object of `size_bytes`, in pieces of 1 MiB but for the last.

        Raises ObjectDamaged.
        """
        span = None if length == size_bytes else f"{offset}-{offset + length - 1}"
        headers = {} if span is None else {"Range": f"bytes={span}"}
        try:
            url = self._urls.url("GET", object_name)
            with store_request("get"):
                async with self._session.get(url, headers=headers) as answer:
                    _check_range(answer, size_bytes, span)
                    while length > 0:
                        piece = await answer.content.readexactly(min(length, CHUNK_BYTES))
                        length -= len(piece)
                        yield piece
        except asyncio.IncompleteReadError as error:
            raise StoreUnavailable("the object store broke off") from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise StoreUnavailable(f"the object store cannot be reached ({_why(error)})") from error

    async def find(self, object_name: str) -> StoredObject | None:
        """Return an object's size and time; None if it does not exist."""
        try:
            found = await self.bucket.call(
                self.bucket.client.stat_object, self.bucket.name, object_name
            )
        except ObjectMissing:
            return None
        return _stored_object(found)

    async def delete(self, object_name: str) -> bool:
        """Delete an object; false if it does not exist.

        It is looked for first, because rclone deletes the object `a` when told to delete `a/x`.
        """
        if await self.find(object_name) is None:
            return False
        await self.bucket.call(self.bucket.client.remove_object, self.bucket.name, object_name)
        return True

    async def pages(self, prefix: str) -> AsyncIterator[list[StoredObject]]:
        """Yield the objects whose names begin with `prefix`, sorted by name, 1,000 at a time."""
        client, name = self.bucket.client, self.bucket.name
        listed = client.list_objects(name, prefix=prefix, recursive=True)
        while page := await self.bucket.call(lambda: list(islice(listed, _PAGE_OBJECTS))):
            yield [_stored_object(found) for found in page]


class _Listed(Protocol):
    """The object type of minio."""

    @property
    def object_name(self) -> str | None: ...
    @property
    def size(self) -> int | None: ...
    @property
    def last_modified(self) -> datetime | None: ...


_CHECK_TIMEOUT = aiohttp.ClientTimeout(total=PUT_SECONDS, sock_connect=_CONNECT_SECONDS)
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)


def _check_range(answer: aiohttp.ClientResponse, size_bytes: int, span: str | None) -> None:
    """Compare the headers, not the status: rclone answers a range with 200."""
    if answer.status in (404, 416):
        raise ObjectDamaged(f"HTTP {answer.status}")
    if answer.status not in (200, 206):
        raise StoreUnavailable(f"the object store refused (HTTP {answer.status})")
    if span is None:
        actual, expected = answer.headers.get("Content-Length"), str(size_bytes)
    else:
        actual, expected = answer.headers.get("Content-Range"), f"bytes {span}/{size_bytes}"
    if actual != expected:
        raise ObjectDamaged(f"it has {actual}, not {expected}")


def _stored_object(found: _Listed) -> StoredObject:
    if found.object_name is None or found.size is None or found.last_modified is None:
        raise StoreUnavailable("the object store lists an object without name, size or time")
    return StoredObject(found.object_name, found.size, found.last_modified)


def _why(error: BaseException) -> str:
    return type(error).__name__
