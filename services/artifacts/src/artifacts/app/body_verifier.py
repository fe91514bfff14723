"""Verification of a body on its way to the store: its last piece waits for size and sha256."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from artifacts.domain.facts import FactCounter
from artifacts.domain.files import CHUNK_BYTES, ContentHasher
from artifacts.errors import DigestMismatch, SizeMismatch

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
    from concurrent.futures import Executor

    from artifacts.domain.facts import Facts
    from artifacts.domain.files import ContentDigests

ON_LOOP_BYTES = 64 << 10
"""Up to this size bodies are hashed and counted on the event loop, beyond in a thread."""


class BodyVerifier:
    """Passes one body on in chunks, and checks it against its announced size and digest."""

    def __init__(
        self,
        chunks: AsyncIterator[bytes],
        size_bytes: int,
        digest: str,
        file_type: str,
        threads: Executor,
    ) -> None:
        self._chunks = chunks
        self._size_bytes = size_bytes
        self._digest = digest
        self._threads = threads
        self._hash = ContentHasher()
        self._counter = FactCounter(file_type)
        self._received = 0
        self.verified = False
        """Whether the last piece was passed on, after which the store may have all bytes."""

    @property
    def content(self) -> ContentDigests:
        """The digests of the body, once all of it has arrived."""
        return self._hash.content()

    @property
    def facts(self) -> Facts:
        """The facts of the body, once all of it has arrived."""
        return self._counter.facts()

    async def pieces(self, confirm: Callable[[], Awaitable[None]]) -> AsyncGenerator[bytes, None]:
        """Yield the body; its last piece only when size and digest match and `confirm` returns.

        Raises SizeMismatch, DigestMismatch.
        """
        last = b""
        async for chunk in cut_into_chunks(self._chunks):
            self._received += len(chunk)
            if self._received > self._size_bytes:
                raise SizeMismatch(self._size_bytes, f"{self._received} or more")
            counted = self._count(chunk)
            if last:
                yield last
            await counted
            last = chunk
        if self._received < self._size_bytes:
            raise SizeMismatch(self._size_bytes, str(self._received))
        if self.content.digest != self._digest:
            raise DigestMismatch(self.content.digest)
        await confirm()
        self.verified = True
        if last:
            yield last

    def _count(self, chunk: bytes) -> asyncio.Future[None]:
        """Begin to hash and count a chunk, in a thread unless it is small."""
        loop = asyncio.get_running_loop()
        if len(chunk) > ON_LOOP_BYTES:
            return loop.run_in_executor(self._threads, self._add, chunk)
        self._add(chunk)
        done = loop.create_future()
        done.set_result(None)
        return done

    def _add(self, chunk: bytes) -> None:
        self._hash.add(chunk)
        self._counter.add(chunk)


async def cut_into_chunks(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Cut pieces of any size into chunks of 1 MiB; the last may be smaller."""
    buffer = bytearray()
    async for piece in pieces:
        if not buffer and len(piece) == CHUNK_BYTES:
            yield piece
            continue
        buffer += piece
        while len(buffer) >= CHUNK_BYTES:
            yield bytes(buffer[:CHUNK_BYTES])
            del buffer[:CHUNK_BYTES]
    if buffer:
        yield bytes(buffer)
