"""The calls that a script holds until they are released."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class _Waiting:
    rule: str
    released: asyncio.Event = field(default_factory=asyncio.Event)


class HeldCalls:
    """The calls that wait for a release."""

    def __init__(self) -> None:
        self._waiting: list[_Waiting] = []
        self._changed = asyncio.Event()

    async def wait(self, rule: str) -> None:
        """Wait for a release of this rule's calls."""
        waiting = _Waiting(rule)
        self._waiting.append(waiting)
        self._changed.set()
        self._changed = asyncio.Event()
        try:
            await waiting.released.wait()
        finally:
            self._waiting.remove(waiting)

    def held(self, rule: str | None = None) -> int:
        """Return how many calls wait, of one rule or of all."""
        return len(self._of(rule))

    async def wait_until_held(self, count: int, rule: str | None = None) -> None:
        while self.held(rule) < count:
            await self._changed.wait()

    def release(self, rule: str | None = None, count: int | None = None) -> int:
        """Let calls go on, the longest waiting first, and return how many."""
        released = self._of(rule)[:count]
        for waiting in released:
            waiting.released.set()
        return len(released)

    def _of(self, rule: str | None) -> list[_Waiting]:
        return [
            waiting
            for waiting in self._waiting
            if rule in (None, waiting.rule) and not waiting.released.is_set()
        ]
