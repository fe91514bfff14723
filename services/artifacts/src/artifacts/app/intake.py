"""A body on its way into the store: cut, counted, hashed, and held back until it agrees."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from artifacts.domain.facts import FactFinder
from artifacts.domain.files import CHUNK_BYTES, ContentHash
from artifacts.errors import DigestMismatch, SizeMismatch

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
    from concurrent.futures import Executor

    from artifacts.domain.facts import Facts
    from artifacts.domain.files import Content

INLINE_BYTES = 64 << 10
"""What is examined on the event loop; more goes to a thread."""


class Intake:
    """One body of an announced size and digest."""

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
        self._hash = ContentHash()
        self._finder = FactFinder(file_type)
        self._came = 0
        self.passed = False
        """Whether the last piece was let out, after which the store may have all of it."""

    @property
    def content(self) -> Content:
        """What came, once all of it has."""
        return self._hash.content()

    @property
    def facts(self) -> Facts:
        return self._finder.facts()

    async def pieces(self, confirm: Callable[[], Awaitable[None]]) -> AsyncGenerator[bytes, None]:
        """Yield the body; its last piece only when size and digest agree and `confirm` returns.

        Raises SizeMismatch, DigestMismatch.
        """
        held = b""
        async for chunk in whole_chunks(self._chunks):
            self._came += len(chunk)
            if self._came > self._size_bytes:
                raise SizeMismatch(self._size_bytes, f"{self._came} or more")
            examined = self._examine(chunk)
            if held:
                yield held
            await examined
            held = chunk
        if self._came < self._size_bytes:
            raise SizeMismatch(self._size_bytes, str(self._came))
        if self.content.digest != self._digest:
            raise DigestMismatch(self.content.digest)
        await confirm()
        self.passed = True
        if held:
            yield held

    def _examine(self, chunk: bytes) -> asyncio.Future[None]:
        """Begin to hash and count a chunk, in a thread when it is not small."""
        loop = asyncio.get_running_loop()
        if len(chunk) > INLINE_BYTES:
            return loop.run_in_executor(self._threads, self._look_at, chunk)
        self._look_at(chunk)
        done = loop.create_future()
        done.set_result(None)
        return done

    def _look_at(self, chunk: bytes) -> None:
        self._hash.add(chunk)
        self._finder.add(chunk)


async def whole_chunks(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Cut what comes in pieces of any size into chunks of 1 MiB but for the last."""
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
