"""The body of one PUT."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class PutBody:
    """The number of bytes left, the error that the source raised, and the limit on the store."""

    def __init__(self, source: AsyncIterator[bytes], size_bytes: int, seconds: float) -> None:
        self.left = size_bytes
        self.error: Exception | None = None
        self._source = source
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self.limit = asyncio.timeout_at(self._loop.time() + seconds)

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the pieces. The store's time limit is suspended while the source is waited for."""
        self.limit.reschedule(None)
        try:
            async for piece in self._source:
                self.left -= len(piece)
                self.limit.reschedule(self._loop.time() + self._seconds)
                yield piece
                if self.left:
                    self.limit.reschedule(None)
        except Exception as error:
            self.error = error
            raise
